//! The macros of the broker: [`macro@remote_interface`] and `#[derive(Referenceable)]`. Use them through `pb-server`,
//! `pb-client` or `pb-core`, which re-export them.
//!
//! Each macro reads its input, checks every rule, and only then writes code. Mistakes are collected: one error each,
//! at the token that is wrong. Input with mistakes still yields the trait and its stub, so that nothing else fails.

mod attributes;
mod interface;
mod mistakes;
mod paths;
mod referenceable;

/// Makes a trait an interface whose objects can be called from other processes.
///
/// Beside the trait `Bank` there is then the stub `BankRef`, of the same visibility: a reference to an object that
/// offers `Bank`. It has the trait's methods, without `async`: the call is on its way when they return, and what they
/// return is a `Deferred`, the answer to come. `BankRef::new` makes a reference to an object of ours, and
/// `bank.remote()` holds all that isn't a method of the interface, but for `bank.within(duration)`: a stub whose calls have
/// a deadline.
///
/// ```ignore
/// #[remote_interface]
/// pub trait Bank {
///     /// Opens an account.
///     async fn open(&self, owner: String) -> Result<AccountRef, BankError>;
///     /// Calls `watcher` at each transfer.
///     #[remote(oneway)]
///     async fn watch(&self, watcher: WatcherRef);
/// }
/// ```
///
/// # Rules
///
/// * The trait holds only `async fn`s that take `&self`; it may have supertraits, and its methods default bodies. It
///   gains the supertraits `Sized + Send + Sync + 'static`, and the futures of its methods are `Send`.
/// * Arguments and answers are owned values of concrete types that implement serde's `Serialize` and `Deserialize`,
///   stubs among them, at most 12 arguments. So there are no generics, lifetimes, references and `impl Trait`.
/// * The first argument may be `cx: &CallContext`, in the trait as in its implementations. Callers don't pass it.
/// * A return type whose last path segment is `Result`, also an alias with one type argument or none, is the answer
///   and the method's own error. Anything else is a plain value.
/// * `new`, `clone`, `remote`, `within`, `detach`, `promised` and names that begin with `__pb` are taken.
///   `#[remote(name = "new")]` gives a method such a name on the wire.
/// * Interfaces and methods are known to other processes by their names: `Bank/open`. Documentation travels with
///   them.
///
/// # How a method runs
///
/// It is first polled by the task that reads its caller's connection, unless it has `spawn`; once it waits it becomes a
/// task of its own. A method that blocks its thread, by `std::thread::sleep` or a long computation, therefore holds up
/// everything else of that connection, and one of the runtime's threads: other connections go on as long as the
/// runtime has threads left. `tokio::task::spawn_blocking` is for such work.
///
/// A panic fails the one call, as `Internal`, and the object stays; a lock that the panic has poisoned is the object's own
/// affair. A panic while panicking, an overflown stack and memory that runs out end the process: its peers see
/// `Disconnected`. `panic = "abort"` makes every panic such a one.
///
/// # Options of a method
///
/// * `#[remote(oneway)]`: never answered; the method returns nothing.
/// * `#[remote(run_to_end)]`: not stopped when the caller loses interest.
/// * `#[remote(spawn)]`: started in parallel with other calls, so not in their order.
/// * `#[remote(answer_bytes = 1048576)]`: the largest answer that its callers take; without it 65,536 bytes.
/// * `#[remote(name = "…")]`: the method's name on the wire.
///
/// # Options of the interface
///
/// * `#[remote_interface(crate = path)]`: where `pb_core`, or a crate that re-exports all of it, is found.
#[proc_macro_attribute]
pub fn remote_interface(
    options: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    interface::remote_interface(options.into(), item.into()).into()
}

/// Lets objects of a type be handed out by reference. Every object that a stub is made for has it.
///
/// An object offers the interface of the stub that it is handed out as. Further ones, to which others may `cast` such
/// a stub, are listed: `#[referenceable(Audited, other::Interface)]`. In generic types they are offered where they
/// are implemented. `#[referenceable(crate = path)]` says where `pb_core` is found.
#[proc_macro_derive(Referenceable, attributes(referenceable))]
pub fn referenceable(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    referenceable::derive(item.into()).into()
}
