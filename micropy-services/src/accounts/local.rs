//! Accounts whose users this process can ask itself.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use micropy_core::ports::auth::{ApiToken, Change, Error, Rejection, Scopes, TokenDigest, User};
use micropy_core::ports::{Auth, Clock, Timestamp};
use tokio::time::Instant;

use super::recent::Recent;
use super::throttle::{Allowance, Network, Throttle};
use super::token::{API_TOKEN, LIFETIME, MailCode, Purpose, Tokens, api_token, digest, random};
use super::turns::Turns;
use super::{
    AccountError, Accounts, Claims, Credentials, LoginError, MAX_API_TOKENS, PasswordChange,
    RegisterError, RenewError, Secret, check_password, check_token_name,
};

/// Failed logins allowed for each account and address within five minutes.
const LOGIN_ATTEMPTS: u32 = 10;
/// Registrations allowed for each address within five minutes.
pub(crate) const REGISTRATIONS: u32 = 100;
/// Mails asked for, for each account and address within five minutes.
const MAILS: u32 = 5;
/// Within a day, for each account, from wherever, and for each address.
const DAILY_MAILS: u32 = 10;
const DAILY_MAILS_FROM: u32 = 100;
/// Of those, to an address that is not confirmed: it may be somebody's who knows nothing of it.
const DAILY_MAILS_UNCONFIRMED: u32 = 5;
/// Sessions of one user that may be ended one by one within a day: each is remembered for a year. Whoever ends more
/// ends all.
const DAILY_LOGOUTS: u32 = 1_000;
/// How long the store may take to say whether a token is good.
const CHECK_TIME: Duration = Duration::from_secs(2);
/// How long a store that did not answer is not asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// How much longer than it lives a token that was ended is remembered: a clock that is ahead for a while would let it
/// be forgotten, and live again.
const REVOKED: Duration = Duration::from_secs(366 * 24 * 3600);
/// The unit in which tokens tell the time.
const SECOND: Duration = Duration::from_secs(1);

/// Accounts of the users behind the port [`Auth`].
///
/// Where a gateway and an auth service share a process, give both the same one: they then count failed logins
/// together.
pub struct LocalAccounts {
    users: Arc<dyn Auth>,
    clock: Arc<dyn Clock>,
    tokens: Tokens,
    throttle: Throttle,
    /// Registrations of each network.
    allowance: Allowance,
    /// Mails that are asked for.
    mails: Throttle,
    daily_mails: Throttle,
    unconfirmed_mails: Throttle,
    /// Sessions that each user has ended.
    logouts: Allowance,
    registration: bool,
    confirmation: bool,
    /// Of those who log in, and of those who register or set another password: neither wait for the other.
    login_turns: Turns<Network>,
    registration_turns: Turns<Network>,
    /// What tokens are good for; none where they are not good.
    recent: Recent<Option<Claims>>,
    /// Whether the users are kept by a server elsewhere, which may be away.
    are_elsewhere: bool,
    /// When that did not answer last.
    silent_since: Mutex<Option<Instant>>,
}

impl LocalAccounts {
    /// Accounts of `users`, with tokens signed by `secret`.
    pub fn new(users: Arc<dyn Auth>, clock: Arc<dyn Clock>, secret: &Secret) -> Self {
        // Half of the cores are left to others.
        let turns = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        LocalAccounts {
            users,
            clock,
            tokens: Tokens::new(secret),
            throttle: Throttle::new(LOGIN_ATTEMPTS),
            allowance: Allowance::new(REGISTRATIONS),
            mails: Throttle::new(MAILS),
            daily_mails: Throttle::daily(DAILY_MAILS, DAILY_MAILS_FROM),
            unconfirmed_mails: Throttle::daily(DAILY_MAILS_UNCONFIRMED, DAILY_MAILS_FROM),
            logouts: Allowance::daily(DAILY_LOGOUTS),
            registration: true,
            confirmation: false,
            login_turns: Turns::new(turns),
            registration_turns: Turns::new(turns),
            recent: Recent::default(),
            are_elsewhere: true,
            silent_since: Mutex::default(),
        }
    }

    /// How many logins may fail for each account and address within five minutes; ten times as many for each address
    /// whatever the account, and for each account from addresses that it was never used from. Of an IPv6 address, the
    /// first 64 bits count. The default is 10.
    #[must_use]
    pub fn login_attempts(mut self, attempts: u32) -> Self {
        self.throttle = Throttle::new(attempts);
        self
    }

    /// How many may register from each address within five minutes. The default is 100.
    #[must_use]
    pub fn registrations(mut self, registrations: u32) -> Self {
        self.allowance = Allowance::new(registrations);
        self
    }

    /// Whether people may register themselves. The default is yes.
    #[must_use]
    pub fn allow_registration(mut self, allow: bool) -> Self {
        self.registration = allow;
        self
    }

    /// Whether users have to confirm their address before they may convert anything, and before they get any other
    /// mail. The default is no.
    #[must_use]
    pub fn require_confirmation(mut self, require: bool) -> Self {
        self.confirmation = require;
        self
    }

    /// Whether the users are kept by a server elsewhere. While that is away, what it said last of a token holds, so
    /// that an outage shuts nobody out who has signed in. Users in this process's own files are never away: when they
    /// take too long, a request is refused, and has to be repeated. The default is yes.
    #[must_use]
    pub fn users_elsewhere(mut self, elsewhere: bool) -> Self {
        self.are_elsewhere = elsewhere;
        self
    }

    /// The user of a token that we, or the original auth service, have signed, as the store knows them now; none where
    /// the token has ended.
    async fn user_of(&self, claims: &Claims, token: &TokenDigest) -> Result<Option<User>, Error> {
        let user = match self.users.find(&claims.username).await {
            Ok(user) if claims.are_good_for(&user, &self.tokens) => user,
            Ok(_) | Err(Error::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        let is_revoked = self.users.is_revoked(token).await?;
        Ok((!is_revoked).then_some(user))
    }

    /// What a token is good for now. Where the store does not answer, what it said last holds, and a token of which it
    /// has said nothing is good: an outage of the users' database shall shut nobody out who has signed in.
    async fn standing(&self, claims: Claims, token: &TokenDigest) -> Result<Option<Claims>, Error> {
        if !self.is_silent() {
            let asked = tokio::time::timeout(CHECK_TIME, self.user_of(&claims, token)).await;
            let asked = asked.unwrap_or_else(|elapsed| Err(Error::Unavailable(elapsed.into())));
            let is_silent = self.are_elsewhere && matches!(asked, Err(Error::Unavailable(_)));
            self.set_silent(is_silent);
            match asked {
                Err(Error::Unavailable(e)) if is_silent => {
                    tracing::warn!(error = %e, "tokens are accepted without asking for their users");
                }
                answer => {
                    return answer.map(|user| {
                        let is_verified = user?.is_verified;
                        Some(Claims {
                            is_verified,
                            ..claims
                        })
                    });
                }
            }
        }
        Ok(self.recent.last(token).unwrap_or(Some(claims)))
    }

    /// What an API token is good for. While the store does not answer, what it said last holds.
    async fn check_api_token(&self, token: &str) -> Result<Option<Claims>, Error> {
        let digest = digest(token);
        let asked = tokio::time::timeout(CHECK_TIME, self.users.find_api_token(&digest)).await;
        let answer = match asked.unwrap_or_else(|elapsed| Err(Error::Unavailable(elapsed.into()))) {
            Ok((user, _)) if user.is_disabled => None,
            Ok((user, token)) => {
                let now = self.clock.now().as_millis().div_euclid(1000);
                Some(Claims {
                    username: user.email,
                    exp: now + LIFETIME,
                    iat: now,
                    admin: true,
                    is_verified: user.is_verified,
                    scopes: Some(token.scopes),
                    stamp: None,
                })
            }
            Err(Error::NotFound) => None,
            Err(e @ Error::Unavailable(_)) if self.are_elsewhere => {
                return self.recent.last(&digest).ok_or(e);
            }
            Err(e) => return Err(e),
        };
        // Of tokens that were never good, there is no end.
        if answer.is_some() || self.recent.last(&digest).is_some() {
            self.recent.remember(digest, answer.clone());
        }
        Ok(answer)
    }

    /// A valid token's user, as the store knows them now.
    async fn user(&self, token: &str) -> Result<User, AccountError> {
        let (claims, digest) = self.read(token).ok_or(AccountError::Ended)?;
        let user = self.user_of(&claims, &digest).await?;
        user.ok_or(AccountError::Ended)
    }

    /// The user to whom a code was sent, if it is good.
    async fn user_of_code(&self, code: &str, purpose: Purpose) -> Result<User, AccountError> {
        let code = self.tokens.check_code(code, purpose, self.clock.now());
        let code = code.ok_or(AccountError::Ended)?;
        match self.users.find(&code.email).await {
            Ok(user) if code.is_good_for(&user, &self.tokens) => Ok(user),
            Ok(_) | Err(Error::NotFound) => Err(AccountError::Ended),
            Err(e) => Err(e.into()),
        }
    }

    fn is_silent(&self) -> bool {
        let mut since = self
            .silent_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match *since {
            Some(at) if at.elapsed() < PAUSE => true,
            // Of those who ask at once, one finds out.
            Some(_) => {
                *since = Some(Instant::now());
                false
            }
            None => false,
        }
    }

    fn set_silent(&self, silent: bool) {
        let mut since = self
            .silent_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *since = silent.then(Instant::now);
    }

    /// The user who knows the password, as far as an attempt is allowed.
    async fn authenticate(&self, account: Credentials, from: IpAddr) -> Result<User, LoginError> {
        let Credentials { email, password } = account;
        let now = self.clock.now();
        let attempt = self.throttle.attempt(&email, from, now);
        let attempt = attempt.map_err(LoginError::TooMany)?;
        let turn = self.login_turns.wait(Network::of(from)).await;
        let user = self.users.authenticate(&email, &password).await;
        drop(turn);
        match user {
            Ok(user) => {
                self.throttle.succeeded(attempt);
                Ok(user)
            }
            Err(Error::Rejected(Rejection::Credentials)) => Err(LoginError::Invalid),
            Err(e) => {
                self.throttle.undone(&attempt);
                Err(LoginError::Users(e))
            }
        }
    }

    /// The user of a valid token who knows the password, too.
    async fn confirm(
        &self,
        token: &str,
        password: String,
        from: IpAddr,
    ) -> Result<User, AccountError> {
        let user = self.user(token).await?;
        let email = user.email.clone();
        let account = Credentials { email, password };
        match self.authenticate(account, from).await {
            // Whoever has the address since is another, even with the same password. A version that is another since is
            // no reason: this very login may have replaced an old hash.
            Ok(known) if known.id == user.id => Ok(known),
            Ok(_) => Err(AccountError::Ended),
            Err(LoginError::TooMany(wait)) => Err(AccountError::TooMany(wait)),
            Err(LoginError::Users(e)) => Err(e.into()),
            Err(_) => Err(AccountError::Wrong),
        }
    }

    /// Gives a user another password, when it is the turn of `from`. None where the user has changed meanwhile, so that
    /// what allowed it no longer does.
    async fn replace_password(
        &self,
        user: &User,
        new: &str,
        from: IpAddr,
    ) -> Result<Option<User>, Error> {
        let _turn = self.registration_turns.wait(Network::of(from)).await;
        let changed = async {
            // Whoever used the same code at the same time, and waited, costs no hash.
            if !self.users.find(&user.email).await?.is_unchanged_since(user) {
                return Err(Error::Rejected(Rejection::Changed));
            }
            let (seen, now) = (Some(user), self.clock.now());
            let changed = self.users.change_password(&user.email, new, seen, now);
            changed.await
        };
        match changed.await {
            Ok(user) => {
                self.recent.forget();
                Ok(Some(user))
            }
            Err(Error::NotFound | Error::Rejected(Rejection::Changed)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The claims of a token with a valid signature, and what identifies it.
    fn read(&self, token: &str) -> Option<(Claims, TokenDigest)> {
        let claims = self.tokens.check(token, self.clock.now())?;
        Some((claims, digest(token)))
    }
}

#[async_trait]
impl Accounts for LocalAccounts {
    async fn login(
        &self,
        credentials: Option<Credentials>,
        from: IpAddr,
    ) -> Result<String, LoginError> {
        let user = self
            .authenticate(credentials.ok_or(LoginError::Missing)?, from)
            .await?;
        Ok(self.tokens.issue(&user, self.clock.now()))
    }

    async fn register(&self, account: Credentials, from: IpAddr) -> Result<String, RegisterError> {
        if !self.registration {
            return Err(RegisterError::Off);
        }
        account.check().map_err(RegisterError::Unacceptable)?;
        let Credentials { email, password } = account;
        let allowed = self.allowance.take(from, self.clock.now());
        allowed.map_err(RegisterError::TooMany)?;
        let _turn = self.registration_turns.wait(Network::of(from)).await;
        let now = self.clock.now();
        // Tokens that the original auth service issues in this very second are good.
        let user = self.users.register(&email, &password, now.minus(SECOND));
        Ok(self.tokens.issue(&user.await?, now))
    }

    async fn check(&self, token: &str) -> Result<Option<Claims>, Error> {
        self.check_begun(token, self.clock.now(), false).await
    }

    async fn check_now(&self, token: &str) -> Result<Option<Claims>, Error> {
        self.check_begun(token, self.clock.now(), true).await
    }

    async fn check_begun(
        &self,
        token: &str,
        begun: Timestamp,
        at_once: bool,
    ) -> Result<Option<Claims>, Error> {
        let claims = match token.starts_with(API_TOKEN) {
            true => None,
            false => match self.tokens.check(token, begun) {
                Some(claims) => Some(claims),
                None => return Ok(None),
            },
        };
        let digest = digest(token);
        if let Some(answer) = self.recent.fresh(&digest).filter(|_| !at_once) {
            return Ok(answer);
        }
        let Some(claims) = claims else {
            return self.check_api_token(token).await;
        };
        let answer = self.standing(claims, &digest).await?;
        self.recent.remember(digest, answer.clone());
        Ok(answer)
    }

    async fn renew(&self, token: &str) -> Result<String, RenewError> {
        let (claims, digest) = self.read(token).ok_or(RenewError::Ended)?;
        let user = self.user_of(&claims, &digest).await?;
        let user = user.ok_or(RenewError::Ended)?;
        Ok(self.tokens.issue(&user, self.clock.now()))
    }

    async fn logout(&self, token: &str) -> Result<(), Error> {
        let Some((claims, digest)) = self.read(token) else {
            return Ok(());
        };
        // One that has ended already does nothing to the others.
        let Some(user) = self.user_of(&claims, &digest).await? else {
            return Ok(());
        };
        let now = self.clock.now();
        if self.logouts.take_of(&user.id, now).is_err() {
            match self
                .users
                .change(&user.email, Change::TokensEnded, now)
                .await
            {
                Ok(_) | Err(Error::NotFound) => {}
                Err(e) => return Err(e),
            }
            self.recent.forget();
            return Ok(());
        }
        let expiry = Timestamp::from_millis(claims.exp.saturating_mul(1000)).plus(REVOKED);
        self.users.revoke(&digest, expiry, now).await?;
        self.recent.remember(digest, None);
        Ok(())
    }

    async fn change_password(
        &self,
        token: &str,
        change: PasswordChange,
        from: IpAddr,
    ) -> Result<String, AccountError> {
        check_password(&change.new).map_err(AccountError::Unacceptable)?;
        let user = self.confirm(token, change.current, from).await?;
        let user = self.replace_password(&user, &change.new, from).await;
        let user = user?.ok_or(AccountError::Wrong)?;
        Ok(self.tokens.issue(&user, self.clock.now()))
    }

    async fn remove(
        &self,
        token: &str,
        password: String,
        from: IpAddr,
    ) -> Result<(), AccountError> {
        let user = self.confirm(token, password, from).await?;
        match self.users.remove(&user.email, Some(&user)).await {
            Err(Error::Rejected(Rejection::Changed)) => return Err(AccountError::Ended),
            removed => removed?,
        }
        self.recent.forget();
        Ok(())
    }

    async fn check_removal(&self) -> Result<(), AccountError> {
        Ok(())
    }

    async fn mail_code(
        &self,
        email: &str,
        purpose: Purpose,
        from: IpAddr,
    ) -> Result<Option<MailCode>, AccountError> {
        let now = self.clock.now();
        // Where a user has signed in, nobody else can use up the mails that may be asked for.
        let is_familiar = self.throttle.is_familiar(email, from);
        for throttle in [&self.mails, &self.daily_mails] {
            let counted = throttle.attempt_from(email, from, is_familiar, now);
            counted.map_err(AccountError::TooMany)?;
        }
        let user = match self.users.find(email).await {
            Ok(user) if !user.is_disabled => user,
            Ok(_) | Err(Error::NotFound) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if !user.is_verified {
            let mails = &self.unconfirmed_mails;
            let counted = mails.attempt_from(email, from, is_familiar, now);
            counted.map_err(AccountError::TooMany)?;
        }
        let purpose = match (purpose, user.is_verified) {
            (Purpose::Confirm, true) => return Ok(None),
            (_, false) if self.confirmation => Purpose::Confirm,
            (purpose, _) => purpose,
        };
        Ok(Some(self.tokens.mail_code(&user, purpose, now)))
    }

    fn gives_mail_codes(&self) -> bool {
        true
    }

    async fn reset_password(
        &self,
        code: &str,
        new: String,
        from: IpAddr,
    ) -> Result<(), AccountError> {
        check_password(&new).map_err(AccountError::Unacceptable)?;
        let user = self.user_of_code(code, Purpose::Reset).await?;
        let user = self.replace_password(&user, &new, from).await;
        let user = user?.ok_or(AccountError::Ended)?;
        if !user.is_verified {
            let (verified, now) = (Change::Verified(true), self.clock.now());
            self.users.change(&user.email, verified, now).await?;
            self.recent.forget();
        }
        Ok(())
    }

    async fn confirm_address(&self, code: &str) -> Result<(), AccountError> {
        let user = self.user_of_code(code, Purpose::Confirm).await?;
        if !user.is_verified {
            let (verified, now) = (Change::Verified(true), self.clock.now());
            self.users.change(&user.email, verified, now).await?;
            self.recent.forget();
        }
        Ok(())
    }

    async fn api_tokens(&self, token: &str) -> Result<Vec<ApiToken>, AccountError> {
        let user = self.user(token).await?;
        Ok(self.users.api_tokens(&user).await?)
    }

    async fn add_api_token(
        &self,
        token: &str,
        name: String,
        scopes: Scopes,
    ) -> Result<(ApiToken, String), AccountError> {
        check_token_name(&name).map_err(AccountError::Unacceptable)?;
        if scopes == Scopes::default() {
            let why = "A token has at least one scope: convert, read.";
            return Err(AccountError::Unacceptable(why.into()));
        }
        let user = self.user(token).await?;
        let made = api_token();
        let kept = ApiToken {
            id: random(),
            name,
            scopes,
            created: self.clock.now(),
        };
        let digest = digest(&made);
        let added = self
            .users
            .add_api_token(&user, &kept, &digest, MAX_API_TOKENS);
        match added.await {
            Ok(()) => Ok((kept, made)),
            // The session ended while it was looked at.
            Err(Error::Rejected(Rejection::Changed)) => Err(AccountError::Ended),
            Err(Error::Rejected(Rejection::TooManyTokens)) => Err(AccountError::TooManyTokens),
            Err(e) => Err(e.into()),
        }
    }

    async fn remove_api_token(&self, token: &str, id: &str) -> Result<(), AccountError> {
        let user = self.user(token).await?;
        self.users.remove_api_token(&user, id).await?;
        self.recent.forget();
        Ok(())
    }

    fn registration(&self) -> bool {
        self.registration
    }

    fn confirmation(&self) -> bool {
        self.confirmation
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::FutureExt as _;
    use micropy_core::ports::auth::{Change, User};
    use micropy_core::ports::memory::MemoryAuth;
    use micropy_core::ports::time::ManualClock;

    use super::super::recent::HOLDS;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const ANN: &str = "ann@example.com";

    /// Users in memory, whom nobody reaches at times.
    #[derive(Default)]
    struct Reachable {
        users: MemoryAuth,
        is_away: AtomicBool,
        /// Whether their passwords have old hashes, which the next login replaces.
        is_old: AtomicBool,
    }

    impl Reachable {
        fn users(&self) -> Result<&MemoryAuth, Error> {
            match self.is_away.load(Ordering::SeqCst) {
                true => Err(Error::Unavailable("away".into())),
                false => Ok(&self.users),
            }
        }
    }

    #[async_trait]
    impl Auth for Reachable {
        async fn register(&self, email: &str, new: &str, now: Timestamp) -> Result<User, Error> {
            self.users()?.register(email, new, now).await
        }
        async fn authenticate(&self, email: &str, password: &str) -> Result<User, Error> {
            let users = self.users()?;
            let user = users.authenticate(email, password).await?;
            match self.is_old.swap(false, Ordering::SeqCst) {
                true => users.change_password(email, password, None, NOW).await,
                false => Ok(user),
            }
        }
        async fn find(&self, email: &str) -> Result<User, Error> {
            let found = self.users()?.find(email).await;
            // As it is with a database, somebody else may come first.
            tokio::task::yield_now().await;
            found
        }
        async fn change_password(
            &self,
            email: &str,
            new: &str,
            seen: Option<&User>,
            now: Timestamp,
        ) -> Result<User, Error> {
            let users = self.users()?;
            users.change_password(email, new, seen, now).await
        }
        async fn change(&self, email: &str, change: Change, now: Timestamp) -> Result<User, Error> {
            self.users()?.change(email, change, now).await
        }
        async fn remove(&self, email: &str, seen: Option<&User>) -> Result<(), Error> {
            self.users()?.remove(email, seen).await
        }
        async fn list(&self) -> Result<Vec<User>, Error> {
            self.users()?.list().await
        }
        async fn revoke(
            &self,
            token: &TokenDigest,
            expiry: Timestamp,
            now: Timestamp,
        ) -> Result<(), Error> {
            self.users()?.revoke(token, expiry, now).await
        }
        async fn add_api_token(
            &self,
            user: &User,
            token: &ApiToken,
            digest: &TokenDigest,
            most: usize,
        ) -> Result<(), Error> {
            let users = self.users()?;
            users.add_api_token(user, token, digest, most).await
        }
        async fn api_tokens(&self, user: &User) -> Result<Vec<ApiToken>, Error> {
            self.users()?.api_tokens(user).await
        }
        async fn remove_api_token(&self, user: &User, id: &str) -> Result<(), Error> {
            self.users()?.remove_api_token(user, id).await
        }
        async fn find_api_token(&self, digest: &TokenDigest) -> Result<(User, ApiToken), Error> {
            self.users()?.find_api_token(digest).await
        }
        async fn is_revoked(&self, token: &TokenDigest) -> Result<bool, Error> {
            self.users()?.is_revoked(token).await
        }
    }

    fn credentials(email: &str, password: &str) -> Credentials {
        Credentials {
            email: email.into(),
            password: password.into(),
        }
    }

    /// Accounts, their users, and a token of Ann's.
    async fn accounts() -> (LocalAccounts, Arc<Reachable>, String) {
        let users = Arc::new(Reachable::default());
        let clock = Arc::new(ManualClock::new(NOW));
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let accounts = LocalAccounts::new(users.clone(), clock, &secret);
        let account = credentials(ANN, "correct horse");
        let token = accounts.register(account, HERE).await.unwrap();
        (accounts, users, token)
    }

    async fn is_valid(accounts: &LocalAccounts, token: &str) -> bool {
        accounts.check(token).await.unwrap().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_ends_seconds_after_its_user_may_use_it_no_more() {
        for taken_away in [
            "password",
            "disabled",
            "enabled again",
            "removed",
            "registered again",
        ] {
            let (accounts, users, token) = accounts().await;
            assert!(is_valid(&accounts, &token).await);
            let renewed = accounts.renew(&token).await.unwrap();
            let users = &users.users;
            let change = |change| users.change(ANN, change, NOW);
            match taken_away {
                "password" => {
                    let changed = users.change_password(ANN, "other", None, NOW);
                    changed.await.unwrap();
                }
                "disabled" => drop(change(Change::Disabled(true)).await.unwrap()),
                "enabled again" => {
                    change(Change::Disabled(true)).await.unwrap();
                    change(Change::Disabled(false)).await.unwrap();
                }
                _ => users.remove(ANN, None).await.unwrap(),
            }
            if taken_away == "registered again" {
                users.register(ANN, "correct horse", NOW).await.unwrap();
            }
            let refused = accounts.renew(&token).await;
            assert!(matches!(refused, Err(RenewError::Ended)), "{taken_away}");
            tokio::time::advance(HOLDS).await;
            for token in [&token, &renewed] {
                assert!(!is_valid(&accounts, token).await, "{taken_away}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_with_an_old_hash_is_changed_and_removed_at_once() {
        let (accounts, users, token) = accounts().await;
        users.is_old.store(true, Ordering::SeqCst);
        let change = PasswordChange {
            current: "correct horse".into(),
            new: "correct horse 2".into(),
        };
        let changed = accounts.change_password(&token, change, HERE).await;
        let token = changed.unwrap();
        users.is_old.store(true, Ordering::SeqCst);
        let removed = accounts.remove(&token, "correct horse 2".into(), HERE);
        removed.await.unwrap();
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_wakes_no_token_that_was_ended() {
        let users = Arc::new(Reachable::default());
        let clock = Arc::new(ManualClock::new(NOW));
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let accounts = LocalAccounts::new(users, clock.clone(), &secret);
        let account = credentials(ANN, "correct horse");
        let ended = accounts.register(account, HERE).await.unwrap();
        accounts.logout(&ended).await.unwrap();
        let month = Duration::from_secs(30 * 24 * 3600);
        clock.advance(month);
        let account = credentials(ANN, "correct horse");
        let later = accounts.login(Some(account), HERE).await.unwrap();
        accounts.logout(&later).await.unwrap();
        clock.set(NOW);
        assert!(accounts.check_now(&ended).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn logging_out_ends_that_token_alone_and_at_once() {
        let (accounts, users, token) = accounts().await;
        let other = accounts.renew(&token).await.unwrap();
        assert!(is_valid(&accounts, &token).await);
        accounts.logout(&token).await.unwrap();
        accounts.logout("x.y.z").await.unwrap();
        assert!(!is_valid(&accounts, &token).await);
        assert!(matches!(
            accounts.renew(&token).await,
            Err(RenewError::Ended)
        ));
        assert!(is_valid(&accounts, &other).await);

        users.is_away.store(true, Ordering::SeqCst);
        let answer = accounts.logout(&other).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_logs_out_without_end_ends_all_sessions_and_fills_no_store() {
        let (accounts, users, token) = accounts().await;
        let (other, mut own) = (accounts.renew(&token).await.unwrap(), token);
        let mut logouts = 0;
        while is_valid(&accounts, &other).await {
            let next = accounts.renew(&own).await.unwrap();
            accounts.logout(&own).await.unwrap();
            assert!(!is_valid(&accounts, &own).await);
            // Again and again does nothing, also to the others.
            accounts.logout(&own).await.unwrap();
            own = next;
            logouts += 1;
            assert!(logouts < 5_000);
            tokio::time::advance(HOLDS).await;
        }
        assert_eq!(logouts, DAILY_LOGOUTS + 1);
        assert!(!is_valid(&accounts, &own).await);
        let account = credentials(ANN, "correct horse");
        let later = accounts.login(Some(account), HERE).await.unwrap();
        assert!(is_valid(&accounts, &later).await, "nobody is shut out");
        accounts.logout(&later).await.unwrap();
        assert!(!is_valid(&accounts, &later).await, "and none stays in");
        drop(users);
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_store_is_away_what_it_said_last_holds() {
        let (accounts, users, token) = accounts().await;
        let logged_out = accounts.renew(&token).await.unwrap();
        let unseen = accounts.renew(&token).await.unwrap();
        accounts.logout(&logged_out).await.unwrap();
        users.is_away.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            assert!(is_valid(&accounts, &token).await);
            assert!(is_valid(&accounts, &unseen).await);
            assert!(!is_valid(&accounts, &logged_out).await);
            assert!(!is_valid(&accounts, "x.y.z").await);
            let renewed = accounts.renew(&token).await;
            assert!(matches!(renewed, Err(RenewError::Users(_))));
            tokio::time::advance(HOLDS).await;
        }
        users.users.remove(ANN, None).await.unwrap();
        users.is_away.store(false, Ordering::SeqCst);
        tokio::time::advance(PAUSE + HOLDS).await;
        assert!(!is_valid(&accounts, &unseen).await);
    }

    #[tokio::test(start_paused = true)]
    async fn users_in_our_own_files_are_never_away() {
        let (accounts, users, token) = accounts().await;
        let accounts = accounts.users_elsewhere(false);
        let read = Scopes::of_names(["read"]).unwrap();
        let made = accounts.add_api_token(&token, "x".into(), read).await;
        let (_, made) = made.unwrap();
        for token in [&token, &made] {
            assert!(is_valid(&accounts, token).await);
        }
        // Somebody keeps the database busy for as long as they like, and their access is taken away.
        users.is_away.store(true, Ordering::SeqCst);
        users.users.remove(ANN, None).await.unwrap();
        tokio::time::advance(HOLDS).await;
        for _ in 0..3 {
            for token in [&token, &made] {
                let asked = accounts.check(token).await;
                assert!(matches!(asked, Err(Error::Unavailable(_))), "{asked:?}");
            }
            tokio::time::advance(PAUSE).await;
        }
        users.is_away.store(false, Ordering::SeqCst);
        for token in [&token, &made] {
            assert!(!is_valid(&accounts, token).await, "at once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_confirms_no_address() {
        let (accounts, users, token) = accounts().await;
        let (verified, now) = (Change::Verified(true), NOW);
        users.users.change(ANN, verified, now).await.unwrap();
        let later = accounts.renew(&token).await.unwrap();
        users.is_away.store(true, Ordering::SeqCst);
        for (token, expected) in [(token, false), (later, true)] {
            let claims = accounts.check(&token).await.unwrap().unwrap();
            assert_eq!(claims.is_verified, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_password_is_replaced_once_by_a_code() {
        let (accounts, users, token) = accounts().await;
        let code = async |email, purpose| accounts.mail_code(email, purpose, HERE).await;
        let reset = code(ANN, Purpose::Reset).await.unwrap().unwrap();
        assert_eq!(reset.purpose, Purpose::Reset);
        let nobody = code("nobody@example.com", Purpose::Reset).await;
        assert_eq!(nobody.unwrap(), None);
        let short = accounts.reset_password(&reset.code, "short".into(), HERE);
        let short = short.await;
        assert!(matches!(short, Err(AccountError::Unacceptable(_))));
        let new = || "another horse".to_owned();
        let done = accounts.reset_password(&reset.code, new(), HERE).await;
        done.unwrap();
        assert!(!is_valid(&accounts, &token).await);
        assert!(users.authenticate(ANN, "another horse").await.is_ok());
        assert!(users.find(ANN).await.unwrap().is_verified);
        for used in [&*reset.code, "x.y"] {
            let again = accounts.reset_password(used, new(), HERE).await;
            assert!(matches!(again, Err(AccountError::Ended)), "{used}");
        }
        assert_eq!(code(ANN, Purpose::Confirm).await.unwrap(), None);
        users
            .change(ANN, Change::Disabled(true), NOW)
            .await
            .unwrap();
        for _ in 0..3 {
            assert_eq!(code(ANN, Purpose::Reset).await.unwrap(), None);
        }
        let limited = code(ANN, Purpose::Reset).await;
        assert!(matches!(limited, Err(AccountError::TooMany(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_is_good_once_also_at_once_and_in_turns() {
        let (accounts, users, _) = accounts().await;
        let sent = accounts.mail_code(ANN, Purpose::Reset, HERE).await;
        let code = sent.unwrap().unwrap().code;
        let reset = async |n: u8| {
            let new = format!("another horse {n}");
            accounts
                .reset_password(&code, new, [192, 0, 2, n].into())
                .await
        };
        let mut held = Vec::new();
        let wait = || {
            let network = Network::of([192, 0, 2, 1].into());
            accounts.registration_turns.wait(network)
        };
        while let Ok(turn) = tokio::time::timeout(PAUSE, wait()).await {
            held.push(turn);
        }
        assert!(tokio::time::timeout(PAUSE, reset(1)).await.is_err());
        drop(held);
        let done: [Result<(), AccountError>; 3] = tokio::join!(reset(1), reset(2), reset(3)).into();
        let is_used = |done: &&Result<(), AccountError>| matches!(done, Err(AccountError::Ended));
        assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1);
        assert_eq!(done.iter().filter(is_used).count(), 2);
        let known = (1..=3).map(|n| format!("another horse {n}"));
        let tried = known.map(|new| {
            users
                .authenticate(ANN, &new)
                .now_or_never()
                .unwrap()
                .is_ok()
        });
        assert_eq!(tried.collect::<Vec<_>>(), done.map(|done| done.is_ok()));
    }

    #[tokio::test]
    async fn nobody_gets_more_than_a_few_mails_a_day() {
        let users = Arc::new(MemoryAuth::default());
        let clock = Arc::new(ManualClock::new(NOW));
        let secret = Secret::new("a secret of the tests, of more than 32 bytes");
        let accounts = LocalAccounts::new(users.clone(), clock.clone(), &secret);
        users.register(ANN, "correct horse", NOW).await.unwrap();
        // Asked for every five minutes, and each time from elsewhere.
        let day = async |n: u32| {
            let mut sent = 0;
            for m in 0..24 * 60 / 5 {
                let from = IpAddr::from((1000 * n + m).to_be_bytes());
                let asked = accounts.mail_code(ANN, Purpose::Reset, from).await;
                sent += u32::from(asked.is_ok_and(|code| code.is_some()));
                clock.advance(Duration::from_secs(5 * 60));
            }
            sent
        };
        assert_eq!(day(0).await, DAILY_MAILS_UNCONFIRMED);
        users
            .change(ANN, Change::Verified(true), NOW)
            .await
            .unwrap();
        assert_eq!(day(1).await, DAILY_MAILS);
        assert_eq!(day(2).await, DAILY_MAILS);
        // From one network, for whoever.
        let mut allowed = 0;
        for n in 0..24 * 60 / 5 {
            let email = format!("{n}@example.com");
            let asked = accounts.mail_code(&email, Purpose::Reset, HERE);
            allowed += u32::from(asked.await.is_ok());
            clock.advance(Duration::from_secs(5 * 60));
        }
        assert_eq!(allowed, DAILY_MAILS_FROM);
    }

    #[tokio::test(start_paused = true)]
    async fn where_addresses_are_confirmed_that_comes_first() {
        let (accounts, users, token) = accounts().await;
        let accounts = accounts.require_confirmation(true);
        assert!(!accounts.check(&token).await.unwrap().unwrap().is_verified);
        let sent = accounts.mail_code(ANN, Purpose::Reset, HERE).await;
        let sent = sent.unwrap().unwrap();
        assert_eq!(sent.purpose, Purpose::Confirm);
        let misused = accounts.reset_password(&sent.code, "another horse".into(), HERE);
        assert!(matches!(misused.await, Err(AccountError::Ended)));
        for _ in 0..2 {
            accounts.confirm_address(&sent.code).await.unwrap();
            assert!(users.find(ANN).await.unwrap().is_verified);
            assert!(accounts.check(&token).await.unwrap().unwrap().is_verified);
        }
        let sent = accounts.mail_code(ANN, Purpose::Reset, HERE).await;
        assert_eq!(sent.unwrap().unwrap().purpose, Purpose::Reset);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_token_is_good_for_its_scopes_until_it_is_taken_away() {
        let (accounts, users, token) = accounts().await;
        let read = Scopes::of_names(["read"]).unwrap();
        let add =
            async |name: &str, scopes| accounts.add_api_token(&token, name.into(), scopes).await;
        let (kept, made) = add("a script", read).await.unwrap();
        assert!(made.starts_with("mpy_") && made.len() > 40, "{made}");
        let claims = accounts.check(&made).await.unwrap().unwrap();
        assert_eq!((&*claims.username, claims.scopes), (ANN, Some(read)));
        let listed = accounts.api_tokens(&token).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&kept));
        // It does nothing to the account, not even to itself.
        assert!(matches!(
            accounts.renew(&made).await,
            Err(RenewError::Ended)
        ));
        for refused in [
            accounts.api_tokens(&made).await.map(drop),
            accounts
                .add_api_token(&made, "x".into(), read)
                .await
                .map(drop),
            accounts.remove_api_token(&made, &kept.id).await,
            accounts.remove(&made, "correct horse".into(), HERE).await,
        ] {
            assert!(matches!(refused, Err(AccountError::Ended)), "{refused:?}");
        }
        for (name, scopes) in [("", read), ("a\nb", read), ("x", Scopes::default())] {
            let refused = add(name, scopes).await;
            assert!(
                matches!(refused, Err(AccountError::Unacceptable(_))),
                "{name:?}"
            );
        }
        assert!(add(&"x".repeat(101), read).await.is_err());

        // While nobody can be asked, what was known holds.
        users.is_away.store(true, Ordering::SeqCst);
        tokio::time::advance(HOLDS).await;
        assert!(is_valid(&accounts, &made).await);
        assert!(accounts.check("mpy_unknown").await.is_err());
        users.is_away.store(false, Ordering::SeqCst);

        accounts.remove_api_token(&token, &kept.id).await.unwrap();
        assert!(!is_valid(&accounts, &made).await);
        let (_, other) = add("another", read).await.unwrap();
        assert!(is_valid(&accounts, &other).await);
        users
            .users
            .change(ANN, Change::Disabled(true), NOW)
            .await
            .unwrap();
        tokio::time::advance(HOLDS).await;
        assert!(!is_valid(&accounts, &other).await);
    }

    #[tokio::test]
    async fn a_user_has_so_many_api_tokens_at_most() {
        let (accounts, _, token) = accounts().await;
        let read = Scopes::of_names(["read"]).unwrap();
        let add = async || accounts.add_api_token(&token, "x".into(), read).await;
        for _ in 1..MAX_API_TOKENS {
            add().await.unwrap();
        }
        // At once: between what a session may and what it does, others come first.
        let last: [_; 3] = tokio::join!(add(), add(), add()).into();
        let is_too_many = |made: &&Result<_, _>| matches!(made, Err(AccountError::TooManyTokens));
        assert_eq!(last.iter().filter(is_too_many).count(), 2);
        assert_eq!(last.iter().filter(|made| made.is_ok()).count(), 1);
    }

    #[tokio::test]
    async fn a_session_that_ends_meanwhile_makes_no_api_token() {
        for ending in ["password", "disabled and enabled", "removed and registered"] {
            let (accounts, users, token) = accounts().await;
            let read = Scopes::of_names(["read"]).unwrap();
            // The store is asked for the user, and answers a moment later.
            let add = accounts.add_api_token(&token, "late".into(), read);
            let end = async {
                let users = &users.users;
                match ending {
                    "password" => {
                        let changed = users.change_password(ANN, "correct horse", None, NOW);
                        changed.await.unwrap();
                    }
                    "disabled and enabled" => {
                        for disabled in [true, false] {
                            let change = Change::Disabled(disabled);
                            users.change(ANN, change, NOW).await.unwrap();
                        }
                    }
                    _ => {
                        users.remove(ANN, None).await.unwrap();
                        users.register(ANN, "correct horse", NOW).await.unwrap();
                    }
                }
            };
            let (made, ()) = tokio::join!(add, end);
            let is_ended = matches!(made, Err(AccountError::Ended));
            assert!(is_ended, "{ending}: {:?}", made.map(|(kept, _)| kept));
            let ann = users.find(ANN).await.unwrap();
            assert_eq!(users.api_tokens(&ann).await.unwrap(), [], "{ending}");
        }
    }
}
