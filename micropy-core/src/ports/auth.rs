//! Users, their passwords, and which of their tokens have ended.

use async_trait::async_trait;

use super::{BackendError, Timestamp};

/// Why the user store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such user. [`Auth::authenticate`] never returns this.
    #[error("no such user")]
    NotFound,
    /// Wrong credentials, an address that somebody else has registered, or a user who has changed meanwhile.
    #[error("{0}")]
    Rejected(Rejection),
    /// Out of reach for now.
    #[error("the user store cannot be reached: {0}")]
    Unavailable(BackendError),
    /// The backend failed in a way only an operator can mend.
    #[error("{adapter} failed: {cause}")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// Its own error.
        cause: BackendError,
    },
}

/// Why credentials or an address were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No such user, the wrong password, or a disabled user. The caller does not learn which.
    #[error("invalid credentials")]
    Credentials,
    /// The address is registered already.
    #[error("this address is already registered")]
    Taken,
    /// The user is not the one who was seen, or of another version.
    #[error("the user has changed meanwhile")]
    Changed,
    /// The user has as many API tokens as one may have.
    #[error("the user has too many API tokens")]
    TooManyTokens,
}

/// A user, as the store knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Tells this user from one who had the address before, or will have it after.
    pub id: String,
    /// The e-mail address, which names the user.
    pub email: String,
    /// What the user may do beside using the service.
    pub role: Role,
    /// A disabled user cannot sign in.
    pub is_disabled: bool,
    /// Whether mail is known to reach the user at the address.
    pub is_verified: bool,
    /// The credential version: another one after the password was changed, by whatever program, and after the user was
    /// disabled or all tokens were ended. A token is good for the version under which it was issued. An adapter may derive it from the stored
    /// password, so nobody outside gets to see it.
    pub version: u64,
    /// A token that names no version is good if it was issued at this time or later.
    pub tokens_since: Timestamp,
}

impl User {
    /// Whether this is still the user who was `seen`, with the same credential version.
    pub fn is_unchanged_since(&self, seen: &User) -> bool {
        (&self.id, self.version) == (&seen.id, seen.version)
    }
}

/// What a user may do beside using the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing more.
    #[default]
    User,
    /// Runs the service.
    Admin,
}

impl Role {
    /// Its name: `user` or `admin`.
    pub const fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Role::User, Role::Admin]
            .into_iter()
            .find(|role| role.name() == name)
    }
}

/// A change of a user's standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Disables the user, which ends all tokens for good, or enables the user again.
    Disabled(bool),
    /// The address is known to be the user's, or no longer is.
    Verified(bool),
    /// Gives the user another role.
    Role(Role),
    /// Ends all tokens for good.
    TokensEnded,
}

/// The SHA-256 of what identifies a token.
pub type TokenDigest = [u8; 32];

/// What a program may do with an API token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Upload videos, and cancel, repeat and remove their jobs.
    pub convert: bool,
    /// See jobs, and download MP3s.
    pub read: bool,
}

impl Scopes {
    /// The scopes of these names: `convert` and `read`. None where another is among them.
    pub fn of_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Self> {
        let mut scopes = Scopes::default();
        for name in names {
            match name {
                "convert" => scopes.convert = true,
                "read" => scopes.read = true,
                _ => return None,
            }
        }
        Some(scopes)
    }

    /// Their names.
    pub fn names(self) -> Vec<&'static str> {
        let all = [(self.convert, "convert"), (self.read, "read")];
        let given = all.into_iter().filter(|(is_given, _)| *is_given);
        given.map(|(_, name)| name).collect()
    }
}

/// What is known of a token that a user has made for a program. The token itself is known to the program alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Tells it from all others.
    pub id: String,
    /// What the user calls it.
    pub name: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// When it was made.
    pub created: Timestamp,
}

/// Users who sign in with an e-mail address and a password.
///
/// Addresses are compared byte by byte: another letter case is another user.
///
/// `now` is the time by the service's clock.
#[async_trait]
pub trait Auth: Send + Sync {
    /// Adds a user; [`Rejection::Taken`] if the address is in use. Durable when it returns. Of two at once with one
    /// address, one wins. The user is enabled, has the role [`Role::User`], and an address that is not verified.
    async fn register(&self, email: &str, password: &str, now: Timestamp) -> Result<User, Error>;

    /// Checks a password. An unknown user, a wrong password and a disabled user all give [`Rejection::Credentials`],
    /// after the same time.
    async fn authenticate(&self, email: &str, password: &str) -> Result<User, Error>;

    /// The user of an address; [`Error::NotFound`] if there is none.
    async fn find(&self, email: &str) -> Result<User, Error>;

    /// Replaces a password, which changes the user's version; [`Error::NotFound`] if there is no such user. Where a
    /// user was `seen`, it has to be the same one, of the same version, else it is [`Rejection::Changed`]: of two at
    /// once who have seen the same, one wins.
    async fn change_password(
        &self,
        email: &str,
        password: &str,
        seen: Option<&User>,
        now: Timestamp,
    ) -> Result<User, Error>;

    /// Changes a user's standing; [`Error::NotFound`] if there is no such user.
    async fn change(&self, email: &str, change: Change, now: Timestamp) -> Result<User, Error>;

    /// Removes a user, whose address somebody may then register again; [`Error::NotFound`] if there is no such user.
    /// Where a user was `seen`, it has to be the same one, of the same version, else it is [`Rejection::Changed`].
    async fn remove(&self, email: &str, seen: Option<&User>) -> Result<(), Error>;

    /// All users, sorted by address.
    async fn list(&self) -> Result<Vec<User>, Error>;

    /// Ends one token, which would expire at `expiry`. Ending it twice does no harm. The store may forget it once it
    /// has expired.
    async fn revoke(
        &self,
        token: &TokenDigest,
        expiry: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error>;

    /// Keeps an API token of a user by its digest. It is good for the version of which the user was seen, and ends with
    /// it: [`Rejection::Changed`] if the user is of another by now, or is not there any more.
    /// [`Rejection::TooManyTokens`] if the user has `most` already, also of several at once.
    async fn add_api_token(
        &self,
        user: &User,
        token: &ApiToken,
        digest: &TokenDigest,
        most: usize,
    ) -> Result<(), Error>;

    /// The API tokens of a user, as seen, that have not ended, the oldest first. A user who has changed has none.
    async fn api_tokens(&self, user: &User) -> Result<Vec<ApiToken>, Error>;

    /// Ends an API token of a user, as seen; [`Error::NotFound`] if the user has none of this id.
    async fn remove_api_token(&self, user: &User, id: &str) -> Result<(), Error>;

    /// The API token of a digest and its user, who may be disabled; [`Error::NotFound`] if there is none, or it has
    /// ended.
    async fn find_api_token(&self, digest: &TokenDigest) -> Result<(User, ApiToken), Error>;

    /// Whether a token was ended by [`revoke`](Auth::revoke), as long as it has not expired.
    async fn is_revoked(&self, token: &TokenDigest) -> Result<bool, Error>;
}
