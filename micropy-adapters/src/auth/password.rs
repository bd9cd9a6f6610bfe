//! Passwords as argon2id hashes in the PHC string format.

use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

/// 19 MiB of memory, 2 passes, 1 lane: the first choice of the OWASP Password Storage Cheat Sheet.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The hash of no password anybody has, for users who do not exist: to check a password against it takes
/// as long as against a real one.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash("").unwrap_or_default());

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or(Params::DEFAULT);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a password with a new random salt. Takes some 20 ms of one core, and 19 MiB.
pub fn hash(password: &str) -> Result<String, password_hash::Error> {
    let hash: PasswordHash = argon2().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// Whether `password` is the one of `known`, the stored hash; in the same time also where there is none.
pub fn matches(password: &str, known: Option<&str>) -> bool {
    let stored = known.unwrap_or(&NOBODY);
    let Ok(stored) = PasswordHash::new(stored) else {
        return false;
    };
    let same = argon2()
        .verify_password(password.as_bytes(), &stored)
        .is_ok();
    same && known.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_carry_their_parameters_and_a_salt_of_their_own() {
        let (one, other) = (hash("secret").unwrap(), hash("secret").unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, other);
        assert!(matches("secret", Some(&one)) && !matches("Secret", Some(&one)));
    }

    #[test]
    fn nobody_has_no_password() {
        assert!(!matches("", None) && !matches("secret", None));
        assert!(!matches("secret", Some("secret")), "plain text is no hash");
    }
}
