//! `docs/guide/by-name.md`.

use std::sync::Arc;

use pb_server::{
    AnyRef, CallError, Description, DynamicCall, DynamicObject, FailureKind, Referenceable, Value, pair,
    remote_interface,
};
use serde::{Deserialize, Serialize};

/// Lends books.
#[remote_interface]
pub trait Library {
    /// A book, by its title.
    async fn find(&self, title: String) -> Result<BookRef, String>;
    /// How many there are.
    async fn count(&self) -> u64;
    /// Titles of those that a word is in.
    async fn search(&self, wish: Wish) -> Vec<String>;
}

#[derive(Serialize, Deserialize)]
pub struct Wish {
    word: String,
    most: Option<u8>,
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

    async fn search(&self, wish: Wish) -> Vec<String> {
        let most = wish.most.map_or(usize::MAX, usize::from);
        ["Emma".to_owned()].into_iter().filter(|_| wish.word == "love").take(most).collect()
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
    assert_eq!(told, ["A book, by its title.", "How many there are.", "Titles of those that a word is in."]);
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

#[tokio::test]
async fn values_stand_in_the_place_of_types() {
    let (_serving, broker) = pair(LibraryRef::new(MyLibrary)).await;
    let library: AnyRef = broker.root();
    let description = library.remote().describe().await.unwrap();
    let search = description.method("search").unwrap();
    let wish = Value::record([("word", "love".into()), ("most", Value::from(2))]);
    let found = library.remote().invoke(search, (wish,)).await.unwrap();
    assert_eq!(found, Value::from(vec!["Emma".into()]));

    let wish = Value::record([("word", "love".into()), ("most", Value::from("two"))]);
    let error = library.remote().invoke(search, [("wish", wish)]).await.unwrap_err();
    let seen = r#"argument 1 of Library/search, `wish`: most: expected u8, found the text "two""#;
    assert_eq!(error.to_string(), seen);
}

struct Logging {
    to: AnyRef,
    description: Arc<Description>,
}

impl DynamicObject for Logging {
    fn describe(&self) -> Arc<Description> {
        Arc::clone(&self.description)
    }

    async fn call(&self, call: DynamicCall) -> Result<Value, CallError<Value>> {
        println!("{} {:?}", call.method().name, call.arguments);
        self.to.remote().invoke(call.method(), call.arguments.clone()).await
    }
}

#[tokio::test]
async fn an_object_without_a_trait_stands_before_any_other() {
    let (_serving, broker) = pair(LibraryRef::new(MyLibrary)).await;
    let library: AnyRef = broker.root();
    let description = Arc::new(library.remote().describe().await.unwrap());
    let logging = Arc::new(Logging { to: library, description });
    let library: LibraryRef = AnyRef::dynamic(logging).unwrap().remote().cast();
    assert_eq!(library.count().await.unwrap(), 1);
    assert_eq!(library.find("Emma".into()).page(7).await.unwrap(), "page 7");
    assert_eq!(library.find("Ulysses".into()).await.map(drop), Err(CallError::App("no Ulysses".into())));
}
