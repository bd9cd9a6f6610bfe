//! JSON Web Tokens (RFC 7519) signed with HS256, as the original services issue and check them.
//!
//! There is one algorithm and no negotiation: a token that names another is rejected.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use micropy_core::ports::Timestamp;
use micropy_core::ports::auth::{Scopes, TokenDigest, User};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Secret;

/// How a token for a program begins.
pub const API_TOKEN: &str = "mpy_";
/// How long a token is valid, in seconds.
pub const LIFETIME: i64 = 86_400;
/// Bytes of the hash of a credential version.
const VERSION_BYTES: usize = 12;

/// The claims of a token: those of the original auth service, and no others. Claims that Python services add are
/// ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// E-mail address of the user.
    pub username: String,
    /// When the token expires, in seconds since the epoch.
    pub exp: i64,
    /// When the token was issued, in seconds since the epoch.
    pub iat: i64,
    /// Whether the user may use the service.
    pub admin: bool,
    /// Whether mail is known to reach the user at the address.
    #[serde(skip, default = "yes")]
    pub is_verified: bool,
    /// What a token for a program is good for; none for that of a user who has signed in.
    #[serde(skip)]
    pub scopes: Option<Scopes>,
    /// What the token was issued under, where we have issued it.
    #[serde(skip)]
    pub(super) stamp: Option<Stamp>,
}

/// Users of the original auth service have no part in verification.
fn yes() -> bool {
    true
}

/// What a token of ours was issued under. It stands in the header of the token, which is signed like the claims:
/// services that compare the claims find those that they know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// The id of the user, which tells them from one who had the address before.
    user: String,
    /// The user's credential version, hashed with the secret: it may follow from the password.
    version: String,
    /// Tells the token from every other.
    nonce: String,
    /// Whether mail was known to reach the user at the address: it counts while nobody can be asked.
    #[serde(default)]
    is_verified: bool,
}

impl Claims {
    /// Whether the token is good for the user whose address it names, as they are now.
    pub(super) fn are_good_for(&self, user: &User, tokens: &Tokens) -> bool {
        if user.is_disabled {
            return false;
        }
        match &self.stamp {
            Some(stamp) => stamp.user == user.id && stamp.version == tokens.version(user),
            // Of the original auth service, which tells whole seconds.
            None => self.iat > user.tokens_since.as_millis().div_euclid(1000),
        }
    }
}

/// What a code in a mail is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To set another password.
    Reset,
    /// To confirm that the address is the user's.
    Confirm,
}

impl Purpose {
    fn lifetime(self) -> Duration {
        match self {
            Purpose::Reset => Duration::from_secs(30 * 60),
            Purpose::Confirm => Duration::from_secs(3 * 24 * 60 * 60),
        }
    }
}

/// A code to be sent to a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailCode {
    /// What it is good for.
    pub purpose: Purpose,
    /// The code.
    pub code: String,
    /// When it ends, in milliseconds since the epoch.
    pub until: i64,
}

/// What a code says.
#[derive(Serialize, Deserialize)]
pub struct Code {
    purpose: Purpose,
    /// The user's address.
    pub email: String,
    stamp: String,
    until: i64,
}

impl Code {
    /// Whether it is good for the user whose address it names, as they are now.
    pub fn is_good_for(&self, user: &User, tokens: &Tokens) -> bool {
        !user.is_disabled && self.stamp == tokens.code_stamp(user, self.purpose)
    }
}

/// A new token for a program.
pub fn api_token() -> String {
    let mut random = [0; 32];
    // The operating system's generator does not fail on a system that still works.
    getrandom::fill(&mut random).unwrap_or_else(|e| panic!("no random numbers: {e}"));
    format!("{API_TOKEN}{}", URL_SAFE_NO_PAD.encode(random))
}

/// What identifies a token to the store of users: the SHA-256 of its signed part, without the signature.
pub fn digest(token: &str) -> TokenDigest {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    Sha256::digest(signed).into()
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
    /// Not a parameter that is registered: other programs ignore it (RFC 7515, section 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    micropy: Option<Stamp>,
}

/// Issues and checks tokens.
#[derive(Clone)]
pub struct Tokens {
    key: Hmac<Sha256>,
}

impl Tokens {
    /// Tokens signed with `secret`.
    pub fn new(secret: &Secret) -> Self {
        // HMAC takes keys of any length.
        let key = Hmac::new_from_slice(secret.reveal().as_bytes());
        Tokens {
            key: key.unwrap_or_else(|e| unreachable!("{e}")),
        }
    }

    /// A token for `user` that is valid from `now` on.
    pub fn issue(&self, user: &User, now: Timestamp) -> String {
        let iat = now.as_millis().div_euclid(1000);
        let header = Header {
            alg: "HS256".into(),
            typ: "JWT".into(),
            micropy: Some(Stamp {
                user: user.id.clone(),
                version: self.version(user),
                nonce: random(),
                is_verified: user.is_verified,
            }),
        };
        let claims = Claims {
            username: user.email.clone(),
            exp: iat + LIFETIME,
            iat,
            admin: true,
            is_verified: user.is_verified,
            scopes: None,
            stamp: None,
        };
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.mac(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a token that is signed with our secret and valid at `now`.
    pub fn check(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = decode(header)?;
        if header.alg != "HS256" {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(signed).verify_slice(&signature).ok()?;
        let stamp = header.micropy;
        let claims = Claims {
            // Users of the original auth service have no part in verification.
            is_verified: stamp.as_ref().is_none_or(|stamp| stamp.is_verified),
            stamp,
            ..decode(claims)?
        };
        (claims.exp > now.as_millis().div_euclid(1000)).then_some(claims)
    }

    /// A code for a mail to `user`, which is good from `now` on, for a while.
    pub fn mail_code(&self, user: &User, purpose: Purpose, now: Timestamp) -> MailCode {
        let until = now.plus(purpose.lifetime());
        let code = encode(&Code {
            purpose,
            email: user.email.clone(),
            stamp: self.code_stamp(user, purpose),
            until: until.as_millis(),
        });
        let mac = self.mac("mail code ").chain_update(&code).finalize();
        let mac = URL_SAFE_NO_PAD.encode(mac.into_bytes());
        MailCode {
            purpose,
            code: format!("{code}.{mac}"),
            until: until.as_millis(),
        }
    }

    /// What a code of ours says, if it is still good.
    pub fn check_code(&self, code: &str, purpose: Purpose, now: Timestamp) -> Option<Code> {
        let (code, mac) = code.split_once('.')?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let ours = self.mac("mail code ").chain_update(code);
        ours.verify_slice(&mac).ok()?;
        let code: Code = decode(code)?;
        (code.purpose == purpose && code.until > now.as_millis()).then_some(code)
    }

    /// What a code is bound to. One for another password is used up by it, since that makes another version of the
    /// user.
    fn code_stamp(&self, user: &User, purpose: Purpose) -> String {
        match purpose {
            Purpose::Reset => self.version(user),
            Purpose::Confirm => user.id.clone(),
        }
    }

    /// The user's credential version, as tokens carry it. What is hashed is no part of a token: it begins with a word.
    fn version(&self, user: &User) -> String {
        let mac = self.mac("credential version ").chain_update(&user.id);
        let mac = mac.chain_update(user.version.to_le_bytes());
        let mac = mac.finalize().into_bytes();
        URL_SAFE_NO_PAD.encode(&mac[..VERSION_BYTES])
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        self.key.clone().chain_update(signed)
    }
}

/// Text that nothing else has.
pub fn random() -> String {
    let mut random = [0; 12];
    // The operating system's generator does not fail on a system that still works.
    getrandom::fill(&mut random).unwrap_or_else(|e| panic!("no random numbers: {e}"));
    URL_SAFE_NO_PAD.encode(random)
}

fn encode(part: &impl Serialize) -> String {
    // Plain structs of text and numbers always serialise.
    let json = serde_json::to_vec(part).unwrap_or_else(|e| unreachable!("{e}"));
    URL_SAFE_NO_PAD.encode(json)
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use micropy_core::ports::auth::Role;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(&Secret::new(secret))
    }

    fn ann() -> User {
        User {
            id: "7".into(),
            email: "ann@example.com".into(),
            role: Role::User,
            is_disabled: false,
            is_verified: true,
            version: 3,
            tokens_since: NOW.minus(std::time::Duration::from_secs(1)),
        }
    }

    /// As PyJWT 2.3.0 makes it: `jwt.encode({"username": "ann@example.com", "exp": 1700086400, "iat":
    /// 1700000000, "admin": True}, "sarcasm", algorithm="HS256")`.
    const PYJWT: &str = concat!(
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.",
        "eyJ1c2VybmFtZSI6ImFubkBleGFtcGxlLmNvbSIsImV4cCI6MTcwMDA4NjQwMCwiaWF0IjoxNzAwMDAwMDAwLCJhZG1pbiI6dHJ1ZX0.",
        "xteOmCQ-ctDIq7Isg9u835rWQv9ewpk_p4fr87nkvP4"
    );

    #[test]
    fn a_token_of_pyjwt_is_accepted() {
        let claims = tokens("sarcasm").check(PYJWT, NOW).unwrap();
        assert_eq!(claims.username, "ann@example.com");
        assert_eq!((claims.iat, claims.exp), (1_700_000_000, 1_700_086_400));
    }

    #[test]
    fn a_token_is_valid_until_it_expires() {
        let ours = tokens("sarcasm");
        let token = ours.issue(&ann(), NOW);
        let at = |seconds: i64| Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
        let claims = ours.check(&token, at(LIFETIME - 1)).unwrap();
        assert!(claims.admin && claims.exp == claims.iat + LIFETIME);
        assert_eq!(ours.check(&token, at(LIFETIME)), None);
    }

    #[test]
    fn a_token_is_good_for_one_user_and_one_version() {
        let ours = tokens("sarcasm");
        let claims = ours.check(&ours.issue(&ann(), NOW), NOW).unwrap();
        assert!(claims.are_good_for(&ann(), &ours));
        let changes: [fn(&mut User); 3] = [
            |user| user.version += 1,
            |user| user.id = "8".into(),
            |user| user.is_disabled = true,
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut user = ann();
            change(&mut user);
            assert!(!claims.are_good_for(&user, &ours), "{n}");
        }
        let text = serde_json::to_string(&claims).unwrap();
        let original =
            r#"{"username":"ann@example.com","exp":1700086400,"iat":1700000000,"admin":true}"#;
        assert_eq!(text, original, "nothing else is told");

        let original = ours.check(PYJWT, NOW).unwrap();
        assert!(original.are_good_for(&ann(), &ours));
        let changed = User {
            tokens_since: NOW,
            ..ann()
        };
        assert!(!original.are_good_for(&changed, &ours));
    }

    #[test]
    fn two_tokens_of_one_user_are_told_apart() {
        let ours = tokens("sarcasm");
        let (a, b) = (ours.issue(&ann(), NOW), ours.issue(&ann(), NOW));
        assert_ne!(digest(&a), digest(&b));
        assert_eq!(digest(&a), digest(&a));
    }

    #[test]
    fn a_code_is_good_once_for_its_purpose_and_for_a_while() {
        let ours = tokens("sarcasm");
        let reset = ours.mail_code(&ann(), Purpose::Reset, NOW);
        let read = |code: &str, purpose, minutes: u64| {
            let now = NOW.plus(Duration::from_secs(minutes * 60));
            ours.check_code(code, purpose, now)
        };
        let code = read(&reset.code, Purpose::Reset, 29).unwrap();
        assert_eq!(code.email, "ann@example.com");
        assert!(code.is_good_for(&ann(), &ours));
        assert!(read(&reset.code, Purpose::Reset, 30).is_none(), "too late");
        assert!(
            read(&reset.code, Purpose::Confirm, 0).is_none(),
            "another purpose"
        );
        let changes: [fn(&mut User); 3] = [
            |user| user.version += 1,
            |user| user.id = "8".into(),
            |user| user.is_disabled = true,
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut user = ann();
            change(&mut user);
            assert!(!code.is_good_for(&user, &ours), "{n}");
        }
        let confirm = ours.mail_code(&ann(), Purpose::Confirm, NOW);
        let code = read(&confirm.code, Purpose::Confirm, 60).unwrap();
        assert!(code.is_good_for(
            &User {
                version: 9,
                ..ann()
            },
            &ours
        ));
        assert!(!code.is_good_for(
            &User {
                id: "8".into(),
                ..ann()
            },
            &ours
        ));
        assert!(
            tokens("irony")
                .check_code(&reset.code, Purpose::Reset, NOW)
                .is_none()
        );
        let (body, mac) = reset.code.split_once('.').unwrap();
        let (other, _) = confirm.code.split_once('.').unwrap();
        for forged in [
            "",
            ".",
            body,
            &format!("{other}.{mac}"),
            &format!("{body}."),
        ] {
            assert!(read(forged, Purpose::Reset, 0).is_none(), "{forged}");
        }
        assert!(ours.check(&reset.code, NOW).is_none(), "it is no token");
    }

    #[test]
    fn a_token_with_another_signature_is_rejected() {
        let ours = tokens("sarcasm");
        let token = ours.issue(&ann(), NOW);
        assert_eq!(tokens("irony").check(&token, NOW), None, "another secret");
        let parts: Vec<&str> = token.split('.').collect();
        let none = format!(
            "{}.{}.",
            encode(&serde_json::json!({"alg": "none"})),
            parts[1]
        );
        assert_eq!(ours.check(&none, NOW), None, "no algorithm");
        let other = encode(&serde_json::json!({"alg": "HS512"}));
        assert_eq!(
            ours.check(&format!("{other}.{}.{}", parts[1], parts[2]), NOW),
            None
        );
        let mut bob = ours.check(&token, NOW).unwrap();
        bob.username = "bob@example.com".into();
        let forged = format!("{}.{}.{}", parts[0], encode(&bob), parts[2]);
        assert_eq!(ours.check(&forged, NOW), None, "other claims");
        for broken in ["", ".", "..", "a.b.c", &token[..token.len() - 1], parts[0]] {
            assert_eq!(ours.check(broken, NOW), None, "{broken}");
        }
    }
}
