//! `micropy-server user`: users added, listed, given a new password.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use micropy_core::ports::Auth;
use micropy_core::ports::auth::Error;

use super::failed;
use crate::compose;
use crate::config::Layers;

/// The arguments of `micropy-server user`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the service's data [default: micropy-data]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<String>,

    /// TOML file with settings
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    action: Action,
}

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

    /// Read the password from the standard input, to its first line's end
    #[arg(long, required = true)]
    password_stdin: bool,
}

/// Does it, on the users of a data folder; a service may be running on it.
pub fn run(args: Args) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&e),
    }
}

type Failure = Box<dyn std::error::Error>;

fn try_run(args: Args) -> Result<(), Failure> {
    let flags = args
        .data_dir
        .map(|folder| ("data_dir", folder))
        .into_iter()
        .collect();
    let layers = Layers::read(flags, args.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let users = compose::open_users(layers.into_config()?).await?;
        act(&*users, args.action).await
    })
}

async fn act(users: &dyn Auth, action: Action) -> Result<(), Failure> {
    match action {
        Action::Add(Account { email, .. }) => {
            if !email.contains('@') {
                return Err(format!("{email:?} is no e-mail address").into());
            }
            users.register(&email, &read_password()?).await?;
            println!("{email} is added");
        }
        Action::Passwd(Account { email, .. }) => {
            let changed = users.change_password(&email, &read_password()?).await;
            changed.map_err(|e| match e {
                Error::NotFound => format!("there is no user {email}").into(),
                e => Failure::from(e),
            })?;
            println!("{email} has a new password");
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
