//! The macros, with their documentation: here, where its examples compile.

/// Makes a trait an interface whose objects can be called from other processes.
///
/// Beside the trait `Bank` there is then the stub `BankRef`, of the same visibility: a reference to an object that offers `Bank`, here or
/// elsewhere. It has the trait's methods, without `async`: the call is on its way when they return, and what they return is a
/// [`Deferred`](crate::Deferred), the answer to come. `BankRef::new` makes a reference to an object of ours, `bank.within(duration)` is a stub whose
/// calls have a deadline, and `bank.remote()` holds all else that isn't a method of the interface ([`Remote`](crate::Remote)).
///
/// ```
/// use pb_core::{Referenceable, remote_interface};
/// use serde::{Deserialize, Serialize};
///
/// /// Keeps accounts.
/// #[remote_interface]
/// pub trait Bank {
///     /// Opens an account.
///     async fn open(&self, owner: String) -> Result<AccountRef, BankError>;
/// }
///
/// #[remote_interface]
/// pub trait Account {
///     async fn deposit(&self, cents: u64) -> u64;
/// }
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// pub enum BankError {
///     NoName,
/// }
///
/// #[derive(Referenceable)]
/// struct MyBank;
///
/// impl Bank for MyBank {
///     async fn open(&self, owner: String) -> Result<AccountRef, BankError> {
///         if owner.is_empty() { Err(BankError::NoName) } else { Ok(AccountRef::new(MyAccount)) }
///     }
/// }
///
/// #[derive(Referenceable)]
/// struct MyAccount;
///
/// impl Account for MyAccount {
///     async fn deposit(&self, cents: u64) -> u64 {
///         cents
///     }
/// }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let bank = BankRef::new(MyBank);
/// assert_eq!(bank.open("ada".into()).deposit(100).await, Ok(100));
/// # });
/// ```
///
/// # What a trait may be
///
/// * It holds only `async fn`s that take `&self`. It may have supertraits, and its methods default bodies. It gains the supertraits
///   `Sized + 'static`, its methods want `Self: Sync` (functions that are generic over it ask for that), and their futures are `Send`; its implementations write plain `async fn`s. No generics, no
///   `where` clauses, no constants, no types, and no macros in it.
/// * Arguments, at most 12, have plain names. They, answers and errors are owned values of concrete types that implement serde's `Serialize` and
///   `Deserialize` and are `Send`, stubs among them at any place: no references, lifetimes, `impl Trait`, `dyn Trait`, `Self`.
/// * The first argument may be `cx: &CallContext`, in the trait as in its implementations: what the call brings beside its arguments
///   ([`CallContext`](crate::CallContext)). Callers don't pass it.
/// * A return type whose last path segment is `Result`, also an alias with one type argument or none, is the answer and the method's own error, and
///   callers get that error as [`CallError::App`](crate::CallError). Anything else is a plain value. A method gives a *reference*, on which calls
///   may be made before it has come, where its answer is a stub and nothing else.
/// * `new`, `clone`, `remote`, `within`, `detach`, `promised` and names that begin with `__pb` are taken. `#[remote(name = "new")]` gives a
///   method such a name on the wire.
/// * Documentation, `#[deprecated]`, `#[must_use = "…"]`, `#[allow]` and `#[cfg]` of a method are its stub's method's, too. Documentation travels
///   with the interface. An argument has no `#[cfg]`.
///
/// ```
/// use pb_core::{CallContext, remote_interface};
///
/// type Result<T> = std::result::Result<T, String>;
///
/// #[remote_interface]
/// pub trait Store: std::fmt::Debug {
///     async fn put(&self, cx: &CallContext, key: String, value: Vec<u8>) -> Result<()>;
///     async fn r#type(&self) -> String {
///         "store".into()
///     }
///     #[cfg(unix)]
///     #[deprecated = "use `put`"]
///     async fn put_all(&self, entries: Vec<(String, Vec<u8>)>);
/// }
/// ```
///
/// What breaks a rule is one error, at the token that does:
///
/// ```compile_fail
/// #[pb_core::remote_interface]
/// trait Store {
///     async fn put(&mut self, key: String); // write `&self`: many callers use one object at once; …
/// }
/// ```
///
/// # How a method runs
///
/// It is first polled by the task that reads its caller's connection, unless it has `spawn`; once it waits it becomes a task of its own. A method that
/// blocks its thread, by `std::thread::sleep` or a long computation, therefore holds up everything else of that connection, and one of the
/// runtime's threads: other connections go on as long as the runtime has threads left. `tokio::task::spawn_blocking` is for such work.
///
/// A panic fails the one call, as `Internal`, and the object stays; a lock that the panic has poisoned is the object's own affair. A panic while
/// panicking, an overflown stack and memory that runs out end the process: its peers see `Disconnected`. `panic = "abort"` makes every panic such a one.
///
/// # Options of a method: `#[remote(…)]`
///
/// * `oneway`: never answered. The method returns nothing, and so does the stub's: what goes wrong with it is lost.
/// * `run_to_end`: not stopped when the caller loses interest, its time is over, or the connection ends.
/// * `spawn`: started in a task of its own, in parallel with other calls, so not in their order.
/// * `idempotent`: done twice it is as if done once, so a call that *may* have run may be made again. It is a promise to others: a client that
///   connects anew (`pb_client::Reconnecting`) sends such calls again by itself where their connection was lost, and no others. Not with `oneway`, of which nobody learns how it ended.
/// * `answer_bytes = 1048576`: the largest answer that its callers take, from 1 to 67,108,864; without it 65,536. A larger one fails
///   `Overloaded`. Not with `oneway`.
/// * `name = "…"`: its name on the wire, unlike those of the interface's other methods: at most 256 bytes with `Interface/` before it, no `/` or control
///   characters, and no `$` at its beginning.
///
/// ```
/// use pb_core::{Stub, remote_interface};
///
/// #[remote_interface]
/// trait Archive {
///     #[remote(oneway)]
///     async fn note(&self, text: String);
///     #[remote(run_to_end)]
///     async fn transfer(&self, cents: u64);
///     #[remote(spawn, idempotent, answer_bytes = 1_048_576)]
///     async fn search(&self, text: String) -> Vec<String>;
///     #[remote(name = "new")]
///     async fn make(&self) -> u64;
/// }
///
/// let methods = ArchiveRef::interface().methods();
/// assert!(methods[0].flags().oneway && methods[2].flags().idempotent);
/// assert_eq!(methods[3].name(), "Archive/new");
/// ```
///
/// # Option of an argument: `#[remote(default)]`
///
/// Two builds of a trait understand each other as long as one has only more methods, more interfaces, or more arguments *at the end of a method, with this
/// option*. A caller of an older build does not send such an argument: the method gets `Default::default()`. A caller of a newer build sends it; a
/// callee that doesn't know it is called all the same where its encoding is that of the default, and else the call fails `Incompatible` and does not run, so
/// nothing that a caller says is lost unheard. All other differences are `Incompatible`, with both signatures in the message, and a method that the
/// callee lacks is `Unimplemented`. Only the last arguments may have it, and their types implement `Default`. Local calls, and those to a callee of the
/// same build, pass every argument.
///
/// ```
/// use pb_core::{Stub, remote_interface};
///
/// mod older {
///     #[pb_core::remote_interface]
///     pub trait Shop {
///         async fn order(&self, what: String) -> String;
///     }
/// }
///
/// #[remote_interface]
/// pub trait Shop {
///     async fn order(&self, what: String, #[remote(default)] count: u32) -> String;
/// }
///
/// // What the two say when they meet: each calls the other with one argument.
/// let [older, newer] = [older::ShopRef::interface(), ShopRef::interface()].map(|shop| &shop.methods()[0]);
/// assert_eq!(newer.agree(older.text()).map(|agreed| agreed.arguments), Ok(1));
/// assert_eq!(older.agree(newer.text()).map(|agreed| agreed.arguments), Ok(1));
/// assert_eq!(newer.signature(), "Shop/order(what: str, count: u32 = default) -> str");
/// ```
///
/// # Option of the interface
///
/// * `#[remote_interface(crate = path)]`: where `pb_core`, or a crate that re-exports all of it, is found. Without it the macro looks for
///   `pb-core`, `pb-server` and `pb-client` in the `Cargo.toml` of the package, under whichever name they have there.
///
/// ```
/// mod vendored {
///     pub(crate) use pb_core as broker;
/// }
///
/// #[vendored::broker::remote_interface(crate = crate::vendored::broker)]
/// trait Bank {
///     async fn count(&self) -> u64;
/// }
/// # fn main() {}
/// ```
pub use pb_derive::remote_interface;

/// Lets objects of a type be handed out by reference. Every object that a stub is made for has it: a struct or an enum that is
/// `Send + Sync + 'static`.
///
/// An object offers the interface of the stub that it is handed out as. Further ones, to which others may
/// [`cast`](crate::Remote::cast) such a stub, are listed before the type, each once: `#[referenceable(Audited, other::Interface)]`. In generic
/// types they are offered where they are implemented; lifetimes there are none. `#[referenceable(crate = path)]` says where `pb_core` is found.
///
/// `#[inspect]` before a field lets who looks into the process see it, as its `Debug` writes it at that moment: at most 1,024 bytes, with what a
/// terminal would obey escaped. It runs under no lock of the broker's, and must not wait. Nothing shows a field that is not marked.
///
/// ```
/// use pb_core::{Referenceable, remote_interface};
///
/// #[remote_interface]
/// trait Account {
///     async fn deposit(&self, cents: u64) -> u64;
/// }
///
/// #[remote_interface]
/// trait Audited {
///     async fn audit(&self) -> String;
/// }
///
/// #[derive(Referenceable)]
/// #[referenceable(Audited)]
/// struct Savings<T> {
///     owner: T,
///     #[inspect]
///     cents: std::sync::atomic::AtomicU64,
/// }
///
/// impl<T: Send + Sync + 'static> Account for Savings<T> {
///     async fn deposit(&self, cents: u64) -> u64 {
///         cents
///     }
/// }
///
/// impl<T: ToString + Send + Sync + 'static> Audited for Savings<T> {
///     async fn audit(&self) -> String {
///         self.owner.to_string()
///     }
/// }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let account = AccountRef::new(Savings { owner: "ada", cents: 7.into() });
/// let audited: AuditedRef = account.remote().cast();
/// assert_eq!(audited.audit().await, Ok("ada".into()));
/// # });
/// ```
pub use pb_derive::Referenceable;
