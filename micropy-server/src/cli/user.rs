//! `micropy-server user`: adds, lists, disables and removes users, and changes passwords.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use clap::Subcommand;
use micropy_core::ports::Auth;
use micropy_core::ports::auth::{Change, Error, Role, User};

use super::once::{self, Failure};
use crate::compose;

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
const USERS: [&str; 4] = ["data_dir", "users_url", "legacy_passwords", "config"];

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user
    Add(Account),
    /// Give a user a new password, and sign the user out everywhere
    Passwd(Account),
    /// Keep a user from signing in, and sign the user out everywhere
    Disable(Address),
    /// Let a disabled user sign in again
    Enable(Address),
    /// Remove a user, whose jobs and files go when they expire; nobody else can register the address before
    Remove(Address),
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
        let users = compose::open_users(settings).await?;
        act(&*users, args.action).await.map(|()| "")
    })
}

async fn act(users: &dyn Auth, action: Action) -> Result<(), Failure> {
    let now = compose::now();
    match action {
        Action::Add(Account { email, .. }) => {
            if !email.contains('@') {
                return Err(format!("{email:?} is not an e-mail address").into());
            }
            users.register(&email, &read_password()?, now).await?;
            // The operator knows whose address it is.
            let verified = users.change(&email, Change::Verified(true), now).await;
            if let Err(e) = verified {
                eprintln!("micropy-server: {email} is not marked as verified: {e}");
            }
            println!("added {email}");
        }
        Action::Passwd(Account { email, .. }) => {
            let new = read_password()?;
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
        Action::Remove(Address { email }) => {
            let removed = users.remove(&email, None).await;
            removed.map_err(|e| failure(e, &email))?;
            println!("removed {email}");
        }
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
