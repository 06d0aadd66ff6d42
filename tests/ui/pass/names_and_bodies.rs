//! Raw identifiers, default bodies, supertraits that are interfaces, aliases of `Result`, macros that make interfaces.
#![deny(warnings)]

use std::fmt::Debug;

use pb_core::{CallContext, CallError, Referenceable, remote_interface};

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Short {
    missing: u64,
}

type Result<T, E = Short> = std::result::Result<T, E>;

#[remote_interface]
pub trait Audited: Debug {
    async fn r#type(&self) -> String;
    async fn r#move(&self, r#where: String) -> String {
        #![allow(clippy::let_and_return)]
        let answer = format!("{} to {where}", self.r#type().await);
        answer
    }
}

#[remote_interface]
pub trait Account: Audited + Debug {
    async fn withdraw(&self, mut cents: u64) -> Result<u64> {
        self.limit(cents)?;
        cents += 1;
        Ok(cents)
    }
    async fn deposit(&self, cx: &CallContext, cents: u64) -> pb_alias::Result<u64>;
    #[remote(name = "new")]
    async fn make(&self, _: &CallContext) -> (u64, Option<AuditedRef>);
    #[remote(oneway)]
    #[must_use]
    async fn note(&self, text: String) -> ();
}

#[remote_interface]
pub trait Bodies {
    async fn early(&self, wait: bool) -> String {
        if wait {
            return "early".into();
        }
        std::future::ready(()).await;
        "late".into()
    }
    async fn asks(&self, number: String) -> std::result::Result<u64, String> {
        let parsed = number.parse().map_err(|_| "no number")?;
        Ok(parsed)
    }
    async fn diverges(&self) -> u64 {
        panic!("never called")
    }
    async fn nothing(&self) {}
    async fn delegates(&self) {
        self.nothing().await
    }
}

mod pb_alias {
    pub type Result<T> = std::result::Result<T, super::Short>;
}

trait Limited {
    fn limit(&self, cents: u64) -> Result<()>;
}

impl<T: ?Sized> Limited for T {
    fn limit(&self, cents: u64) -> Result<()> {
        if cents > 100 { Err(Short { missing: cents - 100 }) } else { Ok(()) }
    }
}

macro_rules! counter {
    ($name:ident, $method:ident, $answer:ty) => {
        #[remote_interface]
        trait $name {
            async fn $method(&self, by: $answer) -> $answer {
                by + 1
            }
        }
    };
}
counter!(Counter, count, u64);

#[derive(Debug, Referenceable)]
#[referenceable(Audited, crate::Counter)]
struct MyAccount;

impl Audited for MyAccount {
    async fn r#type(&self) -> String {
        "savings".to_owned()
    }
}

impl Account for MyAccount {
    async fn deposit(&self, _cx: &CallContext, cents: u64) -> pb_alias::Result<u64> {
        Err(Short { missing: cents })
    }
    async fn make(&self, _: &CallContext) -> (u64, Option<AuditedRef>) {
        (1, None)
    }
    async fn note(&self, _text: String) {}
}

impl Counter for MyAccount {}

impl Bodies for MyAccount {}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let account = AccountRef::new(MyAccount);
    assert_eq!(account.withdraw(1).await.unwrap(), 2);
    assert!(matches!(account.withdraw(101).await, Err(CallError::App(Short { missing: 1 }))));
    assert!(matches!(account.deposit(7).await, Err(CallError::App(Short { missing: 7 }))));
    assert_eq!(account.make().await.unwrap().0, 1);
    account.note("text".to_owned());
    let audited = AuditedRef::new(MyAccount);
    assert_eq!(audited.r#type().await.unwrap(), "savings");
    assert_eq!(audited.r#move("bed".to_owned()).await.unwrap(), "savings to bed");
    let bodies = BodiesRef::new(MyAccount);
    assert_eq!(bodies.early(true).await.unwrap(), "early");
    assert_eq!(bodies.early(false).await.unwrap(), "late");
    assert!(matches!(bodies.asks("x".to_owned()).await, Err(CallError::App(text)) if text == "no number"));
    bodies.delegates().await.unwrap();
    assert_eq!(CounterRef::new(MyAccount).count(1).await.unwrap(), 2);
}
