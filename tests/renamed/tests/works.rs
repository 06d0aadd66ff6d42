//! The interface works, and not only compiles.

use pb_tests_renamed::{GreeterRef, Parrot};

#[tokio::test]
async fn an_interface_works_under_a_renamed_crate() {
    let greeter = GreeterRef::new(Parrot);
    assert_eq!(greeter.greet("ada".into(), true).await, Ok("ADA".into()));
    assert_eq!(greeter.greet("ada".into(), false).await, Ok("ada".into()));
}
