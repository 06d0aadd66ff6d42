//! `docs/guide/by-name.md`.

use pb_server::{AnyRef, FailureKind, Referenceable, pair, remote_interface};

/// Lends books.
#[remote_interface]
pub trait Library {
    /// A book, by its title.
    async fn find(&self, title: String) -> Result<BookRef, String>;
    /// How many there are.
    async fn count(&self) -> u64;
}

#[remote_interface]
pub trait Book {
    async fn page(&self, number: u32) -> String;
}

#[derive(Referenceable)]
struct MyLibrary;

impl Library for MyLibrary {
    async fn find(&self, title: String) -> Result<BookRef, String> {
        if title == "Emma" { Ok(BookRef::new(MyBook)) } else { Err(format!("no {title}")) }
    }

    async fn count(&self) -> u64 {
        1
    }
}

#[derive(Referenceable)]
struct MyBook;

impl Book for MyBook {
    async fn page(&self, number: u32) -> String {
        format!("page {number}")
    }
}

#[tokio::test]
async fn methods_are_called_by_name() {
    let (_serving, broker) = pair(LibraryRef::new(MyLibrary)).await;
    let library: AnyRef = broker.root();
    let count: u64 = library.remote().call("Library/count", ()).await.unwrap();
    assert_eq!(count, 1);

    let emma = library.remote().try_call::<AnyRef, String>("Library/find", ("Emma".to_owned(),));
    let page: String = emma.remote().call("Book/page", (7u32,)).await.unwrap();
    assert_eq!(page, "page 7");
}

#[tokio::test]
async fn objects_tell_what_they_are() {
    let (_serving, broker) = pair(LibraryRef::new(MyLibrary)).await;
    let library: AnyRef = broker.root();
    let description = library.remote().describe().await.unwrap();
    for method in &description.interfaces[0].methods {
        println!("{}: {}", method.name, method.docs);
    }
    let told: Vec<&str> =
        description.interfaces[0].methods.iter().map(|method| method.docs.as_str()).collect();
    assert_eq!(told, ["A book, by its title.", "How many there are."]);
}

#[tokio::test]
async fn what_one_sees_where_there_is_no_such_method() {
    let (_serving, broker) = pair(LibraryRef::new(MyLibrary)).await;
    let library: AnyRef = broker.root();
    let failure = library.remote().call::<u64>("Library/burn", ()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unimplemented);
    assert_eq!(failure.to_string(), "the object has no method Library/burn; it offers Library");
    let failure = library.remote().call::<String>("Library/count", ()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Incompatible);
    let seen = "the two sides know different signatures; the callee's is Library/count() -> u64; the caller's signature is Library/count() -> str";
    assert_eq!(failure.to_string(), seen);
}
