use std::rc::Rc;

use pb_core::{Referenceable, remote_interface};

#[remote_interface]
trait Bank {
    async fn count(&self) -> u64;
}

#[derive(Referenceable)]
struct MyBank;

impl Bank for MyBank {
    async fn count(&self) -> u64 {
        let count = Rc::new(1);
        std::future::ready(()).await;
        *count
    }
}

fn main() {}
