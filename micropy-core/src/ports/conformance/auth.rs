//! The suite of [`Auth`].

use crate::ports::auth::{Auth, Error, Rejection};

/// Runs the suite on an adapter without users. That unknown users and wrong passwords take the same time is left to the
/// adapter's own tests: it depends on the machine.
pub async fn run(auth: &dyn Auth) {
    nobody_signs_in_unregistered(auth).await;
    a_user_signs_in_with_the_right_password_only(auth).await;
    an_address_is_registered_once(auth).await;
    a_changed_password_replaces_the_old_one(auth).await;
    letter_case_and_odd_characters_count(auth).await;
}

async fn refused(auth: &dyn Auth, email: &str, password: &str) -> bool {
    let answer = auth.authenticate(email, password).await;
    matches!(answer, Err(Error::Rejected(Rejection::Credentials)))
}

async fn nobody_signs_in_unregistered(auth: &dyn Auth) {
    assert!(
        auth.list().await.expect("list").is_empty(),
        "the suite needs an empty adapter"
    );
    assert!(
        refused(auth, "nobody@example.com", "").await,
        "an unknown user is refused"
    );
    let changed = auth.change_password("nobody@example.com", "x").await;
    assert!(
        matches!(changed, Err(Error::NotFound)),
        "an unknown user has no password to change"
    );
    assert!(
        refused(auth, "nobody@example.com", "x").await,
        "and gets none by changing it"
    );
}

async fn a_user_signs_in_with_the_right_password_only(auth: &dyn Auth) {
    auth.register("ann@example.com", "correct horse")
        .await
        .expect("register");
    auth.authenticate("ann@example.com", "correct horse")
        .await
        .expect("the right password");
    for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
        assert!(
            refused(auth, "ann@example.com", wrong).await,
            "{wrong:?} is not the password"
        );
    }
}

async fn an_address_is_registered_once(auth: &dyn Auth) {
    let again = auth.register("ann@example.com", "other").await;
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
    auth.register("bob@example.com", "old")
        .await
        .expect("register");
    auth.change_password("bob@example.com", "new")
        .await
        .expect("change");
    auth.authenticate("bob@example.com", "new")
        .await
        .expect("the new password");
    assert!(
        refused(auth, "bob@example.com", "old").await,
        "the old password is gone"
    );
}

async fn letter_case_and_odd_characters_count(auth: &dyn Auth) {
    assert!(
        refused(auth, "Ann@example.com", "correct horse").await,
        "letter case counts"
    );
    let odd = "o'neil\"; --@exämple.com";
    auth.register(odd, "pass:wörd\u{1f511}\0")
        .await
        .expect("register");
    auth.authenticate(odd, "pass:wörd\u{1f511}\0")
        .await
        .expect("odd characters are kept");
    let all = auth.list().await.expect("list");
    assert_eq!(
        all,
        ["ann@example.com", "bob@example.com", odd],
        "all users, sorted"
    );
}
