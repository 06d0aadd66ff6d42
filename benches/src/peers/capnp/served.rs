//! What the server serves, and what is called back.

use super::adder_capnp::{adder, counter, node};
use crate::peers::counter as counters;
use capnp::Error;
use capnp_rpc::new_client;
use std::cell::RefCell;
use std::rc::Rc;

/// The server's root.
#[derive(Default)]
pub struct Root {
    callee: RefCell<Option<counter::Client>>,
}

/// A counter that counts as alive.
pub struct Counted(counters::Counter);

struct Link(i64);

impl Counted {
    /// One that begins at `first`.
    pub fn new(first: i64) -> Counted {
        Counted(counters::Counter::new(first))
    }
}

impl adder::Server for Root {
    async fn add(self: Rc<Self>, pair: adder::AddParams, mut sum: adder::AddResults) -> Result<(), Error> {
        let pair = pair.get()?;
        sum.get().set_value(pair.get_a().wrapping_add(pair.get_b()));
        Ok(())
    }

    async fn echo(
        self: Rc<Self>,
        body: adder::EchoParams,
        mut back: adder::EchoResults,
    ) -> Result<(), Error> {
        back.get().set_bytes(body.get()?.get_bytes()?);
        Ok(())
    }

    async fn make(
        self: Rc<Self>,
        first: adder::MakeParams,
        mut made: adder::MakeResults,
    ) -> Result<(), Error> {
        made.get().set_counter(new_client(Counted::new(first.get()?.get_value())));
        Ok(())
    }

    async fn live(self: Rc<Self>, _: adder::LiveParams, mut live: adder::LiveResults) -> Result<(), Error> {
        live.get().set_value(counters::live().cast_signed());
        Ok(())
    }

    async fn watch(self: Rc<Self>, callee: adder::WatchParams, _: adder::WatchResults) -> Result<(), Error> {
        *self.callee.borrow_mut() = Some(callee.get()?.get_callee()?);
        Ok(())
    }

    async fn callback(
        self: Rc<Self>,
        number: adder::CallbackParams,
        mut answer: adder::CallbackResults,
    ) -> Result<(), Error> {
        let callee = self.callee.borrow().clone();
        let callee = callee.ok_or_else(|| Error::failed("nobody is to be called back".to_owned()))?;
        let mut request = callee.add_request();
        request.get().set_value(number.get()?.get_value());
        answer.get().set_value(request.send().promise.await?.get()?.get_value());
        Ok(())
    }

    async fn node(self: Rc<Self>, _: adder::NodeParams, mut made: adder::NodeResults) -> Result<(), Error> {
        made.get().set_node(new_client(Link(1)));
        Ok(())
    }
}

impl counter::Server for Counted {
    async fn add(
        self: Rc<Self>,
        number: counter::AddParams,
        mut sum: counter::AddResults,
    ) -> Result<(), Error> {
        sum.get().set_value(self.0.add(number.get()?.get_value()));
        Ok(())
    }
}

impl node::Server for Link {
    async fn child(self: Rc<Self>, _: node::ChildParams, mut made: node::ChildResults) -> Result<(), Error> {
        made.get().set_node(new_client(Link(self.0 + 1)));
        Ok(())
    }

    async fn value(self: Rc<Self>, _: node::ValueParams, mut value: node::ValueResults) -> Result<(), Error> {
        value.get().set_value(self.0);
        Ok(())
    }
}
