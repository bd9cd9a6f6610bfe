//! The suite of [`Auth`].

use std::time::Duration;

use super::both;
use crate::ports::Timestamp;
use crate::ports::auth::{
    ApiToken, Auth, Change, Error, Rejection, Role, Scopes, TokenDigest, User,
};

/// API tokens that a user may have here.
const MOST: usize = 5;
/// When the suite takes place.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Runs the suite on an adapter without users. That unknown users and wrong passwords take the same time is left to the
/// adapter's own tests: it depends on the machine.
pub async fn run(auth: &dyn Auth) {
    nobody_signs_in_unregistered(auth).await;
    a_user_signs_in_with_the_right_password_only(auth).await;
    an_address_is_registered_once(auth).await;
    a_changed_password_replaces_the_old_one(auth).await;
    letter_case_and_odd_characters_count(auth).await;
    a_disabled_user_does_not_sign_in(auth).await;
    a_users_standing_is_kept(auth).await;
    a_removed_user_is_gone(auth).await;
    a_revoked_token_stays_revoked_until_it_expires(auth).await;
    an_api_token_is_found_by_its_digest_until_it_ends(auth).await;
    of_many_tokens_at_once_no_more_are_kept_than_may_be(auth).await;
}

async fn refused(auth: &dyn Auth, email: &str, password: &str) -> bool {
    let answer = auth.authenticate(email, password).await;
    matches!(answer, Err(Error::Rejected(Rejection::Credentials)))
}

/// What a token of the user is good for.
fn tokens(user: &User) -> (String, u64) {
    (user.id.clone(), user.version)
}

async fn nobody_signs_in_unregistered(auth: &dyn Auth) {
    let nobody = "nobody@example.com";
    assert!(
        auth.list().await.expect("list").is_empty(),
        "the suite needs an empty adapter"
    );
    assert!(
        refused(auth, nobody, "").await,
        "an unknown user is refused"
    );
    let stranger = User {
        id: "0".into(),
        email: nobody.into(),
        role: Role::User,
        is_disabled: false,
        is_verified: false,
        version: 0,
        tokens_since: NOW,
    };
    for seen in [None, Some(&stranger)] {
        let changed = auth.change_password(nobody, "x", seen, NOW).await;
        assert!(
            matches!(changed, Err(Error::NotFound)),
            "an unknown user has no password to change"
        );
    }
    assert!(
        refused(auth, nobody, "x").await,
        "and gets none by changing it"
    );
    for change in [
        Change::Disabled(true),
        Change::Disabled(false),
        Change::Verified(true),
        Change::Role(Role::Admin),
        Change::TokensEnded,
    ] {
        let changed = auth.change(nobody, change, NOW).await;
        assert!(
            matches!(changed, Err(Error::NotFound)),
            "an unknown user has no standing to change: {change:?}"
        );
    }
    let found = auth.find(nobody).await;
    assert!(matches!(found, Err(Error::NotFound)), "and is not found");
    let removed = auth.remove(nobody, None).await;
    assert!(matches!(removed, Err(Error::NotFound)), "nor removed");
    assert!(
        auth.list().await.expect("list").is_empty(),
        "nor made by any of this"
    );
}

async fn a_user_signs_in_with_the_right_password_only(auth: &dyn Auth) {
    let registered = auth
        .register("ann@example.com", "correct horse", NOW)
        .await
        .expect("register");
    assert_eq!(registered.email, "ann@example.com");
    assert_eq!(
        (
            registered.role,
            registered.is_disabled,
            registered.is_verified
        ),
        (Role::User, false, false),
        "a new user may use the service, and has confirmed nothing"
    );
    let signed_in = auth
        .authenticate("ann@example.com", "correct horse")
        .await
        .expect("the right password");
    assert_eq!(
        signed_in, registered,
        "the user of a login is the one who registered"
    );
    let found = auth.find("ann@example.com").await.expect("find");
    assert_eq!(found, registered, "and the one who is found");
    for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
        assert!(
            refused(auth, "ann@example.com", wrong).await,
            "{wrong:?} is not the password"
        );
    }
}

async fn an_address_is_registered_once(auth: &dyn Auth) {
    let again = auth.register("ann@example.com", "other", NOW).await;
    assert!(
        matches!(again, Err(Error::Rejected(Rejection::Taken))),
        "a second user with one address is refused"
    );
    auth.authenticate("ann@example.com", "correct horse")
        .await
        .expect("the first keeps the password");
    assert!(
        refused(auth, "ann@example.com", "other").await,
        "the second gets nothing"
    );
}

async fn a_changed_password_replaces_the_old_one(auth: &dyn Auth) {
    let registered = auth
        .register("bob@example.com", "old", NOW)
        .await
        .expect("register");
    let later = NOW.plus(Duration::from_secs(60));
    let changed = auth
        .change_password("bob@example.com", "new", None, later)
        .await
        .expect("change");
    assert_eq!(changed.id, registered.id, "the user stays the same");
    assert_ne!(
        changed.version, registered.version,
        "tokens of the old password end"
    );
    assert_eq!(changed.tokens_since, later, "those without a version, too");
    let signed_in = auth
        .authenticate("bob@example.com", "new")
        .await
        .expect("the new password");
    assert_eq!(signed_in, changed, "tokens of the new one are good");
    assert!(
        refused(auth, "bob@example.com", "old").await,
        "the old password is gone"
    );
    let same = auth
        .change_password("bob@example.com", "new", None, later)
        .await
        .expect("the same password again");
    assert_ne!(
        same.version, changed.version,
        "a password that is set again ends tokens, too"
    );
    for seen in [&registered, &changed] {
        let outdated = auth
            .change_password("bob@example.com", "other", Some(seen), later)
            .await;
        assert!(
            matches!(outdated, Err(Error::Rejected(Rejection::Changed))),
            "another version keeps its password"
        );
        let removed = auth.remove("bob@example.com", Some(seen)).await;
        assert!(
            matches!(removed, Err(Error::Rejected(Rejection::Changed))),
            "and stays"
        );
    }
    assert_eq!(auth.find("bob@example.com").await.expect("find"), same);
    let (one, other) = both(
        auth.change_password("bob@example.com", "one", Some(&same), later),
        auth.change_password("bob@example.com", "other", Some(&same), later),
    )
    .await;
    assert_ne!(one.is_ok(), other.is_ok(), "of two at once, one wins");
}

async fn letter_case_and_odd_characters_count(auth: &dyn Auth) {
    assert!(
        refused(auth, "Ann@example.com", "correct horse").await,
        "letter case counts"
    );
    let odd = "o'neil\"; --@exämple.com";
    auth.register(odd, "pass:wörd\u{1f511}\0", NOW)
        .await
        .expect("register");
    auth.authenticate(odd, "pass:wörd\u{1f511}\0")
        .await
        .expect("odd characters are kept");
    auth.change(odd, Change::Verified(true), NOW)
        .await
        .expect("an odd user's standing");
    let all = auth.list().await.expect("list");
    let all: Vec<&str> = all.iter().map(|user| &*user.email).collect();
    assert_eq!(
        all,
        ["ann@example.com", "bob@example.com", odd],
        "all users, sorted"
    );
}

async fn a_disabled_user_does_not_sign_in(auth: &dyn Auth) {
    let ann = "ann@example.com";
    let before = auth.find(ann).await.expect("find");
    let later = NOW.plus(Duration::from_secs(90));
    let disabled = auth
        .change(ann, Change::Disabled(true), later)
        .await
        .expect("disable");
    assert!(disabled.is_disabled, "disabled");
    assert!(
        refused(auth, ann, "correct horse").await,
        "the right password is not enough"
    );
    assert_eq!(
        auth.find(ann).await.expect("find"),
        disabled,
        "the user is still there"
    );
    let enabled = auth
        .change(ann, Change::Disabled(false), later)
        .await
        .expect("enable");
    let signed_in = auth
        .authenticate(ann, "correct horse")
        .await
        .expect("enabled again");
    assert_eq!(signed_in, enabled);
    assert_eq!(enabled.id, before.id, "the same user");
    assert_ne!(
        tokens(&enabled),
        tokens(&before),
        "tokens of before stay ended"
    );
    assert_eq!(enabled.tokens_since, later, "those without a version, too");
    let later = later.plus(Duration::from_secs(90));
    let ended = auth.change(ann, Change::TokensEnded, later).await;
    let ended = ended.expect("end all tokens");
    assert_ne!(tokens(&ended), tokens(&enabled), "all tokens have ended");
    assert_eq!(ended.tokens_since, later, "those without a version, too");
    let signed_in = auth.authenticate(ann, "correct horse").await;
    assert_eq!(signed_in.expect("the password is the same"), ended);
    let bob = auth.find("bob@example.com").await.expect("find");
    assert!(!bob.is_disabled, "nobody else is concerned");
}

async fn a_users_standing_is_kept(auth: &dyn Auth) {
    let ann = "ann@example.com";
    let before = auth.find(ann).await.expect("find");
    for change in [Change::Verified(true), Change::Role(Role::Admin)] {
        auth.change(ann, change, NOW).await.expect("change");
    }
    let after = auth.find(ann).await.expect("find");
    assert_eq!((after.is_verified, after.role), (true, Role::Admin));
    assert_eq!(tokens(&after), tokens(&before), "which ends no token");
    let changed = auth
        .change_password(ann, "correct horse", None, NOW)
        .await
        .expect("change the password");
    assert_eq!(
        (changed.is_verified, changed.role, changed.is_disabled),
        (true, Role::Admin, false),
        "a new password leaves the rest as it is"
    );
    for change in [Change::Verified(false), Change::Role(Role::User)] {
        auth.change(ann, change, NOW).await.expect("change");
    }
    let after = auth.find(ann).await.expect("find");
    assert_eq!((after.is_verified, after.role), (false, Role::User));
}

async fn a_removed_user_is_gone(auth: &dyn Auth) {
    let ann = "ann@example.com";
    for change in [Change::Verified(true), Change::Role(Role::Admin)] {
        auth.change(ann, change, NOW).await.expect("change");
    }
    let before = auth.find(ann).await.expect("find");
    auth.remove(ann, Some(&before)).await.expect("remove");
    assert!(
        refused(auth, ann, "correct horse").await,
        "a removed user is unknown"
    );
    let found = auth.find(ann).await;
    assert!(matches!(found, Err(Error::NotFound)), "and not found");
    let removed = auth.remove(ann, None).await;
    assert!(matches!(removed, Err(Error::NotFound)), "nor removed twice");
    let all = auth.list().await.expect("list");
    assert!(all.iter().all(|user| user.email != ann), "nor listed");

    let again = auth
        .register(ann, "correct horse", NOW)
        .await
        .expect("the address is free");
    assert_ne!(
        tokens(&again),
        tokens(&before),
        "whoever has the address now is not who had it before"
    );
    assert_eq!(
        (again.role, again.is_verified, again.is_disabled),
        (Role::User, false, false),
        "and takes nothing over"
    );
    // Whoever had the address before confirmed it by a password at the same moment.
    let changed = auth.change_password(ann, "theirs", Some(&before), NOW);
    assert!(
        matches!(changed.await, Err(Error::Rejected(Rejection::Changed))),
        "another user of the address keeps the password"
    );
    let removed = auth.remove(ann, Some(&before)).await;
    assert!(
        matches!(removed, Err(Error::Rejected(Rejection::Changed))),
        "and stays"
    );
}

async fn a_revoked_token_stays_revoked_until_it_expires(auth: &dyn Auth) {
    let (first, second) = ([1; 32], [2; 32]);
    let is_revoked = async |token| auth.is_revoked(token).await.expect("is_revoked");
    let expiry = NOW.plus(Duration::from_secs(600));
    assert!(!is_revoked(&first).await, "no token is revoked by itself");
    for _ in 0..2 {
        auth.revoke(&first, expiry, NOW).await.expect("revoke");
        assert!(is_revoked(&first).await, "a token that was revoked");
        assert!(!is_revoked(&second).await, "ends no other");
    }
    let later = NOW.plus(Duration::from_secs(599));
    auth.revoke(&second, later.plus(Duration::from_secs(600)), later)
        .await
        .expect("revoke");
    assert!(is_revoked(&first).await, "it has not expired yet");
    assert!(is_revoked(&second).await);
}

async fn an_api_token_is_found_by_its_digest_until_it_ends(auth: &dyn Auth) {
    let (eve, mallory) = ("eve@example.com", "mallory@example.com");
    for email in [eve, mallory] {
        auth.register(email, "correct horse", NOW)
            .await
            .expect("register");
    }
    let token = |n: u8, name: &str, convert| ApiToken {
        id: format!("token {n}"),
        name: name.into(),
        scopes: Scopes {
            convert,
            read: true,
        },
        created: NOW.plus(Duration::from_secs(n.into())),
    };
    let digest = |n: u8| -> TokenDigest { [n; 32] };
    let is_unknown = async |n| {
        let found = auth.find_api_token(&digest(n)).await;
        matches!(found, Err(Error::NotFound))
    };
    let find = async |email| auth.find(email).await.expect("find");
    let add_as = async |user: &User, n, name: &str| {
        let token = token(n, name, n == 11);
        auth.add_api_token(user, &token, &digest(n), MOST).await
    };
    let add = async |email, n, name: &str| add_as(&find(email).await, n, name).await;
    let tokens = async |email| auth.api_tokens(&find(email).await).await.expect("list");
    let has_changed =
        |done: Result<(), Error>| matches!(done, Err(Error::Rejected(Rejection::Changed)));
    let nobody = User {
        email: "nobody@example.com".into(),
        ..find(eve).await
    };
    assert!(
        has_changed(add_as(&nobody, 10, "x").await),
        "an unknown user has no tokens"
    );
    assert!(is_unknown(10).await, "nor does the attempt leave one");
    assert_eq!(auth.api_tokens(&nobody).await.expect("list"), []);

    add(eve, 11, "my \"phöne\" \u{1f511}").await.expect("add");
    add(eve, 12, "a script").await.expect("add");
    add(mallory, 13, "a script").await.expect("add");
    let (first, second) = (
        token(11, "my \"phöne\" \u{1f511}", true),
        token(12, "a script", false),
    );
    assert_eq!(
        tokens(eve).await,
        [first.clone(), second.clone()],
        "the user's own, by age"
    );
    let user = find(eve).await;
    let found = auth.find_api_token(&digest(11)).await.expect("find");
    assert_eq!(found, (user, first));

    let remove = async |email, id| auth.remove_api_token(&find(email).await, id).await;
    let others = remove(mallory, "token 12").await;
    assert!(
        matches!(others, Err(Error::NotFound)),
        "another user's token is none"
    );
    remove(eve, "token 11").await.expect("remove");
    assert!(is_unknown(11).await, "a token that was removed");
    let again = remove(eve, "token 11").await;
    assert!(matches!(again, Err(Error::NotFound)), "is gone");
    assert!(!is_unknown(12).await, "the others stay");

    auth.change(eve, Change::Verified(true), NOW)
        .await
        .expect("change");
    assert!(!is_unknown(12).await, "whatever ends no token");
    let before = find(eve).await;
    auth.change_password(eve, "another horse", None, NOW)
        .await
        .expect("change the password");
    assert!(is_unknown(12).await, "another password ends them");
    assert_eq!(tokens(eve).await, []);
    // By a session that had been looked at before its user had another password.
    assert!(
        has_changed(add_as(&before, 15, "late").await),
        "a session that has ended makes no token"
    );
    assert!(is_unknown(15).await, "not even one");
    add(eve, 14, "new").await.expect("add");
    assert_eq!(
        auth.api_tokens(&before).await.expect("list"),
        [],
        "nor does it see what was made since"
    );
    let removed = auth.remove_api_token(&before, "token 14").await;
    assert!(
        matches!(removed, Err(Error::NotFound)),
        "nor end any of that"
    );
    let before = find(eve).await;
    auth.change(eve, Change::Disabled(true), NOW)
        .await
        .expect("disable");
    auth.change(eve, Change::Disabled(false), NOW)
        .await
        .expect("enable");
    assert!(is_unknown(14).await, "so does disabling their user");
    assert!(
        has_changed(add_as(&before, 15, "late").await),
        "a session from before that makes none"
    );
    assert!(!is_unknown(13).await, "and nobody else");
    let before = find(mallory).await;
    auth.remove(mallory, None).await.expect("remove");
    assert!(is_unknown(13).await, "so does removing their user");
    assert!(
        has_changed(add_as(&before, 15, "late").await),
        "a session of somebody who is gone makes none"
    );
    auth.register(mallory, "correct horse", NOW)
        .await
        .expect("register");
    assert!(is_unknown(13).await, "whoever has the address after");
    assert_eq!(tokens(mallory).await, []);
    assert!(
        has_changed(add_as(&before, 15, "late").await),
        "nor for whoever has the address now"
    );
    assert!(is_unknown(15).await);
}

async fn of_many_tokens_at_once_no_more_are_kept_than_may_be(auth: &dyn Auth) {
    let email = "greedy@example.com";
    let user = auth.register(email, "correct horse", NOW).await;
    let user = user.expect("register");
    let token = |n: u8| ApiToken {
        id: format!("greedy {n}"),
        name: "x".into(),
        scopes: Scopes::default(),
        created: NOW,
    };
    let add = async |n: u8| auth.add_api_token(&user, &token(n), &[n; 32], MOST).await;
    let is_too_many =
        |done: &Result<(), Error>| matches!(done, Err(Error::Rejected(Rejection::TooManyTokens)));
    let first = 100;
    for n in first..first + MOST as u8 - 1 {
        add(n).await.expect("add");
    }
    let (one, other) = both(add(200), add(201)).await;
    assert_ne!(
        one.is_ok(),
        other.is_ok(),
        "of two at once, one is the last"
    );
    assert!(is_too_many(&one) || is_too_many(&other));
    assert!(is_too_many(&add(202).await), "there are no more");
    let kept = auth.api_tokens(&user).await.expect("list");
    assert_eq!(kept.len(), MOST);
    auth.remove_api_token(&user, &kept[0].id)
        .await
        .expect("remove");
    add(203).await.expect("one that has ended makes room");
}
