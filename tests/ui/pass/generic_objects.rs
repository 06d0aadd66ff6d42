//! Objects with generics, several interfaces on one, and stubs of each visibility.
#![deny(warnings, unreachable_pub, private_interfaces)]

use std::sync::Arc;

use pb_core::{Referenceable, remote_interface};
use serde::Serialize;

mod api {
    use pb_core::remote_interface;

    pub(super) struct Private;

    #[remote_interface]
    pub(super) trait Cell {
        async fn show(&self) -> String;
    }

    #[remote_interface]
    pub(crate) trait Audited {
        async fn audit(&self) -> u64;
    }
}

#[remote_interface]
trait Named {
    async fn name(&self) -> Hidden;
}

#[derive(Debug, Serialize, serde::Deserialize)]
struct Hidden(u8);

#[derive(Referenceable)]
#[referenceable(api::Audited)]
#[referenceable(Named)]
struct Holder<T, const N: usize>(T)
where
    T: Clone;

impl<T: Clone + Serialize + Send + Sync + 'static, const N: usize> api::Cell for Holder<T, N> {
    async fn show(&self) -> String {
        let _ = api::Private;
        N.to_string()
    }
}

impl<T: Clone + Send + Sync + 'static, const N: usize> api::Audited for Holder<T, N> {
    async fn audit(&self) -> u64 {
        2
    }
}

impl<T: Clone + Send + Sync + 'static, const N: usize> Named for Holder<T, N> {
    async fn name(&self) -> Hidden {
        Hidden(3)
    }
}

#[derive(Referenceable)]
enum Choice {
    One,
}

impl Named for Choice {
    async fn name(&self) -> Hidden {
        let Choice::One = self;
        Hidden(1)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let cell = api::CellRef::new(Arc::new(Holder::<_, 7>("seven")));
    assert_eq!(cell.show().await.unwrap(), "7");
    let audited: api::AuditedRef = cell.remote().cast();
    assert_eq!(audited.audit().await.unwrap(), 2);
    assert_eq!(cell.remote().cast::<NamedRef>().name().await.unwrap().0, 3);
    assert_eq!(NamedRef::new(Choice::One).name().await.unwrap().0, 1);
}
