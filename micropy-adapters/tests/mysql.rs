//! The table of the older auth services, in a real MariaDB.

#![cfg(feature = "mysql")]
#![allow(clippy::unwrap_used)] // a test ends where something fails

#[path = "support/environment.rs"]
mod environment;
#[path = "support/server.rs"]
#[allow(dead_code)] // other tests need the rest
mod server;

use std::time::{Duration, Instant};

use micropy_adapters::auth::mysql::MysqlAuth;
use micropy_adapters::auth::password::LegacyPasswords::{self, Reject, Upgrade, Verify};
use micropy_core::ports::auth::{Auth, Change, Error, Rejection, Role, User};
use micropy_core::ports::{Timestamp, conformance};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool};
use sqlx::{AssertSqlSafe, ConnectOptions};
use url::Url;

/// The table as the older services make it, word by word.
const ORIGINAL: &str = "CREATE TABLE user (
  id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  email VARCHAR(255) NOT NULL UNIQUE,
  password VARCHAR(255) NOT NULL
);";

/// The schema number of this program.
const NEWEST: i64 = 2;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A database of one test.
struct Database {
    name: String,
    url: Url,
    /// To look behind the adapter.
    direct: MySqlPool,
}

impl Database {
    /// An empty one, where there is a server.
    async fn new(test: &str, charset: &str) -> Option<Self> {
        let mut url: Url =
            environment::variable("MICROPY_TEST_MYSQL_URL", &format!("mysql {test}"))?
                .parse()
                .unwrap();
        let options: MySqlConnectOptions = url.as_str().parse().unwrap();
        let mut root = options.clone().connect().await.unwrap();
        let name = format!("auth_{test}");
        for statement in [
            format!("DROP DATABASE IF EXISTS {name}"),
            format!("CREATE DATABASE {name} CHARACTER SET {charset}"),
        ] {
            let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut root);
            done.await.unwrap();
        }
        url.set_path(&name);
        let direct = MySqlPool::connect_with(options.database(&name)).await;
        Some(Database {
            name,
            url,
            direct: direct.unwrap(),
        })
    }

    fn auth(&self, legacy: LegacyPasswords) -> MysqlAuth {
        let auth = MysqlAuth::new(self.url.as_str()).unwrap();
        auth.with_legacy_passwords(legacy)
    }

    async fn run(&self, statement: &str) {
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        statement.execute(&self.direct).await.unwrap();
    }

    /// The original table, with these users.
    async fn with_users(self, users: &[(&str, &str)]) -> Self {
        self.run(ORIGINAL).await;
        for (email, password) in users {
            let insert = sqlx::query("INSERT INTO user (email, password) VALUES (?, ?)");
            let insert = insert.bind(email).bind(password).execute(&self.direct);
            insert.await.unwrap();
        }
        self
    }

    async fn stored(&self, email: &str) -> String {
        let select = sqlx::query_scalar("SELECT password FROM user WHERE email = ?");
        select.bind(email).fetch_one(&self.direct).await.unwrap()
    }

    async fn definition(&self) -> String {
        let show = sqlx::query_as("SHOW CREATE TABLE user");
        let (_, definition): (String, String) = show.fetch_one(&self.direct).await.unwrap();
        definition
    }

    /// The URL of a user who has only these rights.
    async fn limited(&self, rights: &str) -> Url {
        let user = format!("{}_limited", self.name);
        self.run(&format!("DROP USER IF EXISTS '{user}'@'%'")).await;
        self.run(&format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'limited'"))
            .await;
        self.run(&format!("GRANT {rights} TO '{user}'@'%'")).await;
        let mut url = self.url.clone();
        url.set_username(&user).unwrap();
        url.set_password(Some("limited")).unwrap();
        url
    }
}

fn bcrypt(password: &str, cost: u32) -> String {
    bcrypt::hash(password, cost).unwrap()
}

/// Neither the user nor the password.
fn refused(answer: Result<User, Error>) -> bool {
    matches!(answer, Err(Error::Rejected(Rejection::Credentials)))
}

#[tokio::test(flavor = "multi_thread")]
async fn suite() {
    for charset in ["latin1", "utf8mb4", "utf8mb4 COLLATE utf8mb4_bin"] {
        let Some(database) = Database::new("suite", charset).await else {
            return;
        };
        conformance::auth::run(&database.auth(Verify)).await;
        let made = database.definition().await;

        let Some(database) = Database::new("suite", charset).await else {
            return;
        };
        let database = database.with_users(&[]).await;
        let original = database.definition().await;
        conformance::auth::run(&database.auth(Upgrade)).await;
        let numbered = |definition: String| {
            let (table, options) = definition.split_once(" AUTO_INCREMENT=").unwrap();
            let (_, options) = options.split_once(' ').unwrap();
            format!("{table} {options}")
        };
        assert_eq!(
            numbered(made),
            original,
            "it is made as the older services do"
        );
        assert_eq!(
            numbered(database.definition().await),
            original,
            "and never altered"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letter_case_counts_though_the_index_ignores_it() {
    let Some(database) = Database::new("letter_case", "utf8mb4").await else {
        return;
    };
    let database = database
        .with_users(&[("ann@example.com", "secret"), ("zoë@example.com", "secret")])
        .await;
    let auth = database.auth(Upgrade);
    for other in [
        "ANN@example.com",
        "ann@example.com ",
        "ánn@example.com",
        "zoe@example.com",
    ] {
        assert!(
            refused(auth.authenticate(other, "secret").await),
            "{other:?}"
        );
        assert!(
            matches!(
                auth.change_password(other, "x", None, NOW).await,
                Err(Error::NotFound)
            ),
            "{other:?}"
        );
        assert!(
            matches!(
                auth.register(other, "x", NOW).await,
                Err(Error::Rejected(Rejection::Taken))
            ),
            "{other:?}"
        );
    }
    assert_eq!(database.stored("ann@example.com").await, "secret");
    auth.authenticate("ann@example.com", "secret")
        .await
        .unwrap();
    auth.authenticate("zoë@example.com", "secret")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_passwords_are_verified_upgraded_or_rejected() {
    for charset in ["latin1", "utf8mb4"] {
        let Some(database) = Database::new("legacy", charset).await else {
            return;
        };
        let hash = bcrypt("wörd", 5);
        let users = [
            ("plain@example.com", "wörd"),
            ("bcrypt@example.com", &hash),
            ("php@example.com", &hash.replacen("$2b$", "$2y$", 1)),
        ];
        let database = database.with_users(&users).await;
        for (email, stored) in users {
            for wrong in ["", "word", "Wörd", "wörd ", stored] {
                if wrong == "wörd" {
                    continue;
                }
                for mode in [Verify, Upgrade, Reject] {
                    let answer = database.auth(mode).authenticate(email, wrong).await;
                    assert!(refused(answer), "{email} with {wrong:?} in mode {mode}");
                }
            }
            let answer = database.auth(Reject).authenticate(email, "wörd").await;
            assert!(refused(answer), "{email}");

            let verify = MysqlAuth::new(database.url.as_str()).unwrap();
            verify.authenticate(email, "wörd").await.unwrap();
            assert_eq!(
                database.stored(email).await,
                stored,
                "left as it is, which is the default"
            );

            let upgrade = database.auth(Upgrade);
            upgrade.authenticate(email, "wörd").await.unwrap();
            let new = database.stored(email).await;
            assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
            upgrade.authenticate(email, "wörd").await.unwrap();
            assert_eq!(database.stored(email).await, new, "and once only");
            assert!(refused(upgrade.authenticate(email, &new).await));
            let reject = database.auth(Reject);
            reject.authenticate(email, "wörd").await.unwrap();
        }
        for mode in [Verify, Upgrade, Reject] {
            let auth = database.auth(mode);
            let email = format!("{mode}@example.com");
            auth.register(&email, "new", NOW).await.unwrap();
            let stored = database.stored(&email).await;
            assert!(stored.starts_with("$argon2id$"), "{stored} in mode {mode}");
            auth.change_password(&email, "newer", None, NOW)
                .await
                .unwrap();
            let stored = database.stored(&email).await;
            assert!(stored.starts_with("$argon2id$"), "{stored} in mode {mode}");
            auth.authenticate(&email, "newer").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_rights_are_enough() {
    let Some(database) = Database::new("rights", "latin1").await else {
        return;
    };
    let name = &database.name;
    let url = database
        .limited(&format!("SELECT, INSERT, UPDATE ON {name}.*"))
        .await;
    let auth = MysqlAuth::new(url.as_str()).unwrap();
    let answer = auth.authenticate("ann@example.com", "secret").await;
    assert!(
        matches!(answer, Err(Error::Backend { .. })),
        "no table and no right to make it: {answer:?}"
    );

    let database = database.with_users(&[("ann@example.com", "secret")]).await;
    auth.authenticate("ann@example.com", "secret")
        .await
        .unwrap();
    auth.register("bob@example.com", "secret", NOW)
        .await
        .unwrap();
    auth.change_password("bob@example.com", "new", None, NOW)
        .await
        .unwrap();

    let url = database
        .limited(&format!("SELECT ON {}.*", database.name))
        .await;
    let auth = MysqlAuth::new(url.as_str()).unwrap();
    let auth = auth.with_legacy_passwords(Upgrade);
    auth.authenticate("ann@example.com", "secret")
        .await
        .expect("the login counts, though the hash cannot be stored");
    assert_eq!(database.stored("ann@example.com").await, "secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tables_of_ours_everybody_is_enabled_and_new_passwords_end_tokens() {
    let Some(database) = Database::new("no_tables", "latin1").await else {
        return;
    };
    let database = database.with_users(&[("ann@example.com", "secret")]).await;
    let rights = format!("SELECT, INSERT, UPDATE, DELETE ON {}.user", database.name);
    let auth = MysqlAuth::new(database.limited(&rights).await.as_str()).unwrap();
    let before = auth.find("ann@example.com").await.unwrap();
    assert_eq!((before.is_disabled, before.is_verified), (false, true));
    assert!(!auth.is_revoked(&[1; 32]).await.unwrap());
    let disabled = auth.change("ann@example.com", Change::Disabled(true), NOW);
    for answer in [
        disabled.await.map(drop),
        auth.revoke(&[1; 32], NOW, NOW).await,
    ] {
        let Err(Error::Backend { cause, .. }) = answer else {
            panic!("{answer:?}")
        };
        assert!(cause.to_string().contains("grant it CREATE"), "{cause}");
    }
    let after = auth.change_password("ann@example.com", "new", None, NOW);
    let after = after.await;
    assert_ne!(after.unwrap().version, before.version);
    auth.remove("ann@example.com", None).await.unwrap();
    let found = auth.find("ann@example.com").await;
    assert!(matches!(found, Err(Error::NotFound)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_programs_do_to_the_table_ends_tokens() {
    let Some(database) = Database::new("others", "utf8mb4").await else {
        return;
    };
    let users = [("ann@example.com", "secret"), ("bob@example.com", "secret")];
    let database = database.with_users(&users).await;
    let auth = database.auth(Verify);
    let ann = auth.find("ann@example.com").await.unwrap();
    let bob = auth.find("bob@example.com").await.unwrap();
    assert_eq!(
        (ann.role, ann.is_disabled, ann.is_verified),
        (Role::User, false, true)
    );
    database
        .run("UPDATE user SET password = 'other' WHERE email = 'ann@example.com'")
        .await;
    let changed = auth.find("ann@example.com").await.unwrap();
    assert_ne!(changed.version, ann.version);
    assert_eq!(auth.find("bob@example.com").await.unwrap(), bob);

    for change in [Change::Role(Role::Admin), Change::Disabled(true)] {
        auth.change("ann@example.com", change, NOW).await.unwrap();
    }
    // Whoever gets the id of a user who was removed by hand is not that user.
    let moved = format!(
        "UPDATE user SET email = 'eve@example.com' WHERE id = {}",
        ann.id
    );
    database.run(&moved).await;
    let eve = auth.find("eve@example.com").await.unwrap();
    assert_eq!(
        (&eve.id, eve.role, eve.is_disabled),
        (&ann.id, Role::User, false)
    );
    auth.change("eve@example.com", Change::Verified(false), NOW)
        .await
        .unwrap();
    let eve = auth.find("eve@example.com").await.unwrap();
    assert_eq!(
        (eve.role, eve.is_disabled, eve.is_verified),
        (Role::User, false, false)
    );
    database.run("DELETE FROM user").await;
    let found = auth.find("eve@example.com").await;
    assert!(matches!(found, Err(Error::NotFound)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_tables_are_numbered() {
    let Some(database) = Database::new("numbered", "utf8mb4").await else {
        return;
    };
    let users = [("ann@example.com", "secret")];
    let database = database.with_users(&users).await;
    let version = async || {
        let select = sqlx::query_scalar("SELECT version FROM micropy_schema");
        select.fetch_one(&database.direct).await.unwrap()
    };
    let (first, second) = (database.auth(Verify), database.auth(Verify));
    let both = tokio::join!(
        first.find("ann@example.com"),
        second.find("ann@example.com")
    );
    assert_eq!(both.0.unwrap(), both.1.unwrap());
    let newest: i64 = version().await;
    assert_eq!(newest, NEWEST);

    // A migration that was interrupted is run again.
    first
        .revoke(&[1; 32], NOW, Timestamp::default())
        .await
        .unwrap();
    for interruption in [
        "DROP TABLE micropy_schema",
        "DELETE FROM micropy_schema",
        "UPDATE micropy_schema SET version = 0",
    ] {
        database.run(interruption).await;
        let auth = database.auth(Verify);
        assert!(auth.is_revoked(&[1; 32]).await.unwrap(), "{interruption}");
        assert_eq!(version().await, newest);
    }

    // As version 1 left it, with what is in it.
    let disabled = Change::Disabled(true);
    first
        .change("ann@example.com", disabled, NOW)
        .await
        .unwrap();
    database.run("DROP TABLE micropy_api_tokens").await;
    database.run("UPDATE micropy_schema SET version = 1").await;
    // Who may not upgrade it does not pass over what it says.
    let name = &database.name;
    let url = database
        .limited(&format!("SELECT, INSERT, UPDATE, DELETE ON {name}.*"))
        .await;
    let limited = MysqlAuth::new(url.as_str()).unwrap();
    for _ in 0..2 {
        let answer = limited.find("ann@example.com").await;
        let Err(Error::Backend { cause, .. }) = answer else {
            panic!("{answer:?}")
        };
        assert!(cause.to_string().contains("grant it CREATE"), "{cause}");
    }
    assert_eq!(version().await, 1);
    let upgraded = database.auth(Verify);
    let ann = upgraded.find("ann@example.com").await.unwrap();
    assert!(ann.is_disabled);
    assert!(upgraded.is_revoked(&[1; 32]).await.unwrap());
    assert_eq!(upgraded.api_tokens(&ann).await.unwrap(), []);
    assert_eq!(version().await, newest);

    database
        .run("UPDATE micropy_schema SET version = 1000")
        .await;
    for _ in 0..2 {
        let answer = database.auth(Verify).find("ann@example.com").await;
        let Err(Error::Backend { cause, .. }) = answer else {
            panic!("{answer:?}")
        };
        assert!(cause.to_string().contains("newer version"), "{cause}");
        assert_eq!(version().await, 1000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_not_cut_off() {
    let Some(database) = Database::new("fit", "latin1").await else {
        return;
    };
    // As servers are set up on which older programs have to run.
    let auth = database.auth(Verify);
    database.run("SET GLOBAL sql_mode = ''").await;
    let long = format!("{}@example.com", "a".repeat(255));
    for odd in [long.as_str(), "\u{1f511}@example.com"] {
        let answer = auth.authenticate(odd, "secret").await;
        let told = format!("{odd}: {answer:?}");
        assert!(refused(answer), "{told}");
        let changed = auth.change_password(odd, "secret", None, NOW).await;
        assert!(matches!(changed, Err(Error::NotFound)), "{changed:?}");
        let answer = auth.register(odd, "secret", NOW).await;
        let Err(Error::Backend { cause, .. }) = answer else {
            panic!("{odd}: {answer:?}")
        };
        assert!(cause.to_string().contains("email"), "{cause}");
    }
    database.run("SET GLOBAL sql_mode = DEFAULT").await;
    assert!(auth.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_registers() {
    let Some(database) = Database::new("at_once", "utf8mb4").await else {
        return;
    };
    let auth = database.auth(Verify);
    let other = database.auth(Verify);
    let register = |i: usize| {
        let auth = if i.is_multiple_of(2) {
            auth.clone()
        } else {
            other.clone()
        };
        tokio::spawn(async move { auth.register("ann@example.com", &i.to_string(), NOW).await })
    };
    let tasks: Vec<_> = (0..8).map(register).collect();
    let mut winners = Vec::new();
    for (i, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(_) => winners.push(i),
            Err(Error::Rejected(Rejection::Taken)) => {}
            Err(e) => panic!("{e}"),
        }
    }
    assert_eq!(winners.len(), 1);
    auth.authenticate("ann@example.com", &winners[0].to_string())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_does_not_tell_who_is_registered() {
    let Some(database) = Database::new("time", "utf8mb4").await else {
        return;
    };
    // What Python's bcrypt makes by default.
    let dear = bcrypt("secret", 12);
    let users = [
        ("dear@example.com", &*dear),
        ("plain@example.com", "secret"),
    ];
    let database = database.with_users(&users).await;
    let auth = database.auth(Verify);
    let mut took = [Duration::MAX; 3];
    for _ in 0..4 {
        for (took, user) in took.iter_mut().zip(["nobody", "plain", "dear"]) {
            let begun = Instant::now();
            let email = format!("{user}@example.com");
            assert!(refused(auth.authenticate(&email, "wrong").await));
            *took = (*took).min(begun.elapsed());
        }
    }
    // Without care it is one to ten. The machine may be busy, hence the margin.
    let (least, most) = (took.iter().min().unwrap(), took.iter().max().unwrap());
    assert!(*most < *least * 2, "{took:?} for nobody, plain and bcrypt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_out_of_reach_is_told_from_a_broken_one() {
    let Some(database) = Database::new("reach", "utf8mb4").await else {
        return;
    };
    for address in [server::nobody().await, server::silent().await] {
        let mut url = database.url.clone();
        url.set_port(Some(address.port())).unwrap();
        let auth = MysqlAuth::new(url.as_str()).expect("it may be made before the server is up");
        let begun = Instant::now();
        let answer = auth.authenticate("ann@example.com", "secret").await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(8), "{took:?}");
    }

    let mut url = database.url.clone();
    url.set_password(Some("hidden-word")).unwrap();
    let auth = MysqlAuth::new(url.as_str()).unwrap();
    let answer = auth.list().await;
    assert!(matches!(answer, Err(Error::Backend { .. })), "{answer:?}");
    let told = format!("{answer:?} {} {auth:?}", answer.as_ref().unwrap_err());
    assert!(!told.contains("hidden"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_recovers_with_the_server() {
    let Some(database) = Database::new("recovers", "utf8mb4").await else {
        return;
    };
    let database = database.with_users(&[("ann@example.com", "secret")]).await;
    let port = database.url.port().unwrap();
    let line = server::Line::to(([127, 0, 0, 1], port).into()).await;
    let mut url = database.url.clone();
    url.set_port(Some(line.address.port())).unwrap();
    let auth = MysqlAuth::new(url.as_str()).unwrap();
    for _ in 0..2 {
        auth.authenticate("ann@example.com", "secret")
            .await
            .unwrap();
        line.cut().await;
        let answer = auth.authenticate("ann@example.com", "secret").await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        let answer = auth.register("bob@example.com", "secret", NOW).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        line.mend();
    }
    auth.authenticate("ann@example.com", "secret")
        .await
        .unwrap();
    let all = auth.list().await.unwrap();
    let all: Vec<&str> = all.iter().map(|user| &*user.email).collect();
    assert_eq!(all, ["ann@example.com"]);
}

#[tokio::test]
async fn a_url_that_is_none_is_named_without_its_password() {
    for url in [
        "",
        "auth",
        "postgres://ann:hidden-word@localhost/auth",
        "mysql://ann:hidden-word@localhost:port/auth",
        "mysql://ann:hidden-word@localhost/auth?ssl-mode=perhaps",
    ] {
        let e = MysqlAuth::new(url).expect_err(url);
        assert_eq!(e.kind(), std::io::ErrorKind::InvalidInput);
        let told = format!("{e} {e:?}");
        assert!(!told.contains("hidden"), "{told}");
    }
}
