//! `micropy-server user`: adds and lists users, and changes passwords.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use micropy_core::ports::Auth;
use micropy_core::ports::auth::Error;

use super::failed;
use crate::compose;
use crate::settings::{Flags, Layers, Settings};

/// The arguments of `micropy-server user`.
#[derive(Debug, clap::Args)]
#[command(mut_args(|arg| {
    let is_about_users = USERS.contains(&arg.get_id().as_str());
    arg.global(true).hide(!is_about_users)
}))]
pub struct Args {
    #[command(flatten)]
    pub flags: Flags,

    /// TOML file with settings [env: MICROPY_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    action: Action,
}

/// The arguments that concern users; the help shows no others.
const USERS: [&str; 4] = ["data_dir", "users_url", "legacy_passwords", "config"];

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user
    Add(Account),
    /// Give a user a new password
    Passwd(Account),
    /// List all users
    List,
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
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e),
    }
}

type Failure = Box<dyn std::error::Error>;

fn try_run(args: Args) -> Result<(), Failure> {
    let layers = Layers::read(args.flags, args.config.as_deref())?;
    let settings = Settings::from_layers(&layers)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let users = compose::open_users(settings).await?;
        act(&*users, args.action).await
    })
}

async fn act(users: &dyn Auth, action: Action) -> Result<(), Failure> {
    match action {
        Action::Add(Account { email, .. }) => {
            if !email.contains('@') {
                return Err(format!("{email:?} is not an e-mail address").into());
            }
            users.register(&email, &read_password()?).await?;
            println!("added {email}");
        }
        Action::Passwd(Account { email, .. }) => {
            let changed = users.change_password(&email, &read_password()?).await;
            changed.map_err(|e| match e {
                Error::NotFound => format!("there is no user {email}").into(),
                e => Failure::from(e),
            })?;
            println!("changed the password of {email}");
        }
        Action::List => {
            for email in users.list().await? {
                println!("{email}");
            }
        }
    }
    Ok(())
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
