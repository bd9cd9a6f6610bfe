//! `micropy-server user`: adds, lists, disables and removes users, and changes passwords.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use clap::Subcommand;
use micropy_core::ports::Auth;
use micropy_core::ports::auth::{Change, Error, Rejection, Role, User};
use micropy_services::accounts::{Credentials, check_password};

use super::once::{self, Failure};
use crate::compose::{self, Users};

/// The arguments of `micropy-server user`.
#[derive(Debug, clap::Args)]
#[command(mut_args(|arg| {
    let is_about_users = USERS.contains(&arg.get_id().as_str());
    arg.global(true).hide(!is_about_users)
}))]
pub struct Args {
    #[command(flatten)]
    pub settings: once::SettingsArgs,

    #[command(subcommand)]
    action: Action,
}

/// The arguments that concern users; the help shows no others.
const USERS: [&str; 7] = [
    "data_dir",
    "users_url",
    "legacy_passwords",
    "jobs_url",
    "storage_url",
    "queue_url",
    "config",
];

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user
    Add(NewAccount),
    /// Give a user a new password, and sign the user out everywhere
    Passwd(Account),
    /// Keep a user from signing in, and sign the user out everywhere; jobs that wait are converted all the same
    Disable(Address),
    /// Let a disabled user sign in again
    Enable(Address),
    /// Remove a user with all webhooks, jobs and files
    Remove(Removal),
    /// Give a user a role
    Role(Position),
    /// List all users
    List(Listing),
}

#[derive(Debug, clap::Args)]
struct Address {
    /// E-mail address
    email: String,
}

#[derive(Debug, clap::Args)]
struct Removal {
    /// E-mail address
    email: String,

    /// Keep the jobs and files: they go when they expire, and nobody else registers the address before
    #[arg(long)]
    keep_jobs: bool,
}

#[derive(Debug, clap::Args)]
struct NewAccount {
    #[command(flatten)]
    account: Account,

    /// Give the user the jobs, files and webhooks that an earlier user of the address has left
    #[arg(long)]
    with_jobs: bool,
}

#[derive(Debug, clap::Args)]
struct Position {
    /// E-mail address
    email: String,

    /// What the user is
    #[arg(value_parser = ["user", "admin"])]
    role: String,
}

#[derive(Debug, clap::Args)]
struct Listing {
    /// Say also who is disabled, unverified or an administrator
    #[arg(long)]
    long: bool,
}

#[derive(Debug, clap::Args)]
struct Account {
    /// E-mail address
    email: String,

    /// Read the password from the first line of standard input
    #[arg(long, required = true)]
    password_stdin: bool,
}

/// Acts on the users that the settings name, while a service may be using them.
pub fn run(args: Args) -> ExitCode {
    once::run(args.settings, async |settings| {
        let users = Users::open(settings).await?;
        let done = act(&users, args.action).await;
        users.close().await;
        done.map(|()| "")
    })
}

async fn act(all: &Users, action: Action) -> Result<(), Failure> {
    let (users, now) = (all.users(), compose::now());
    match action {
        Action::Add(NewAccount { account, with_jobs }) => {
            let (email, password) = (account.email, read_password()?);
            let account = Credentials { email, password };
            account.check()?;
            let Credentials { email, password } = account;
            if !with_jobs {
                check_jobs(all, &email).await?;
            }
            users.register(&email, &password, now).await?;
            // Those of an earlier user stay where only the user was removed, and these jobs are not for them.
            if !with_jobs && let Err(e) = all.remove_webhooks_of(&email).await {
                users.remove(&email, None).await?;
                return Err(e.into());
            }
            // The operator knows whose address it is.
            let verified = users.change(&email, Change::Verified(true), now).await;
            if let Err(e) = verified {
                eprintln!("micropy-server: {email} is not marked as verified: {e}");
            }
            println!("added {email}");
        }
        Action::Passwd(Account { email, .. }) => {
            let new = read_password()?;
            check_password(&new)?;
            let changed = users.change_password(&email, &new, None, now);
            changed.await.map_err(|e| failure(e, &email))?;
            println!("changed the password of {email}");
        }
        Action::Disable(Address { email }) => {
            change(users, &email, Change::Disabled(true)).await?;
            println!("disabled {email}");
        }
        Action::Enable(Address { email }) => {
            change(users, &email, Change::Disabled(false)).await?;
            println!("enabled {email}");
        }
        Action::Remove(Removal { email, keep_jobs }) => remove(all, &email, keep_jobs).await?,
        Action::Role(Position { email, role }) => {
            let role = Role::of_name(&role).unwrap_or_default();
            change(users, &email, Change::Role(role)).await?;
            println!("{email} has the role {}", role.name());
        }
        Action::List(Listing { long }) => {
            for user in users.list().await? {
                match long {
                    true => println!("{}", described(&user)),
                    false => println!("{}", user.email),
                }
            }
        }
    }
    Ok(())
}

/// Refuses an address of which jobs are left: they would be the new user's.
async fn check_jobs(all: &Users, email: &str) -> Result<(), Failure> {
    match all.users().find(email).await {
        Ok(_) => return Err(Error::Rejected(Rejection::Taken).into()),
        Err(Error::NotFound) => {}
        Err(e) => return Err(e.into()),
    }
    match all.jobs_of(email).await? {
        Some(0) => Ok(()),
        Some(left) => Err(format!(
            "an earlier user has left {left} jobs: `micropy-server user remove {email}` removes them, and --with-jobs \
             gives them to the new user"
        )
        .into()),
        None => {
            eprintln!(
                "micropy-server: whether an earlier user of {email} has left jobs or webhooks is not known without \
                 jobs_url"
            );
            Ok(())
        }
    }
}

/// Removes a user, then webhooks and jobs, so that no more come. Of a user who was removed before, those that were left.
async fn remove(all: &Users, email: &str, keep_jobs: bool) -> Result<(), Failure> {
    let is_removed = match all.users().remove(email, None).await {
        Ok(()) => true,
        Err(Error::NotFound) if !keep_jobs => false,
        Err(e) => return Err(failure(e, email)),
    };
    if is_removed {
        println!("removed {email}");
    }
    // Of jobs that are kept, too: nobody else's URL is to be told of them, nor of those of who has the address next.
    let webhooks = all.remove_webhooks_of(email).await?;
    if let Some(count @ 1..) = webhooks {
        println!("removed {count} webhooks of {email}");
    }
    let what = if keep_jobs {
        "webhooks"
    } else {
        "webhooks and jobs"
    };
    if is_removed && webhooks.is_none() {
        eprintln!(
            "micropy-server: the {what} stay: the same command with the gateway's settings removes them"
        );
        return Ok(());
    }
    if keep_jobs {
        return Ok(());
    }
    match all.jobs_of(email).await? {
        Some(0) if is_removed || webhooks > Some(0) => {}
        None | Some(0) => return Err(failure(Error::NotFound, email)),
        Some(jobs) => {
            all.remove_jobs_of(email).await?;
            println!("removed {jobs} jobs of {email}");
        }
    }
    Ok(())
}

async fn change(users: &dyn Auth, email: &str, change: Change) -> Result<(), Failure> {
    let changed = users.change(email, change, compose::now()).await;
    changed.map(drop).map_err(|e| failure(e, email))
}

fn failure(e: Error, email: &str) -> Failure {
    match e {
        Error::NotFound => format!("there is no user {email}").into(),
        e => e.into(),
    }
}

/// The user's address, and what is not as usual.
fn described(user: &User) -> String {
    let mut line = user.email.clone();
    for (is_so, word) in [
        (user.is_disabled, "disabled"),
        (!user.is_verified, "unverified"),
        (user.role == Role::Admin, "admin"),
    ] {
        if is_so {
            line.push('\t');
            line.push_str(word);
        }
    }
    line
}

fn read_password() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        eprintln!("Password:");
    }
    let mut text = String::new();
    if io::stdin().is_terminal() {
        io::stdin().read_line(&mut text)?;
    } else {
        io::stdin().read_to_string(&mut text)?;
    }
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err("the password is empty".into()),
    }
}
