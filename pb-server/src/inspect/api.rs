//! What an inspector says, over the wire. Its methods may become more, and get further arguments that have defaults; what its rows say more in later
//! versions stands in their `details`.

use std::collections::BTreeMap;

use pb_core::{AnyRef, Bytes, remote_interface};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The root of an inspector's connection: whoever has the token is let in.
///
/// # Errors
/// The token is another one ([`InspectError`]), or the broker's failures.
///
/// # Cancel safety
/// Dropping a call lets nobody in.
#[remote_interface]
pub trait InspectorDoor {
    /// The inspector, for who says the token; any text will do where none is wanted.
    #[remote(idempotent)]
    async fn enter(&self, token: String) -> Result<InspectorRef, InspectError>;
}

/// Looks into a running server. All its lists are taken at one time, connection by connection: what is there throughout is in them once.
///
/// # Errors
/// What was asked for is not there any more, a filter or an order is none, or the right to do it was not granted: [`InspectError`], whose words
/// say what to write instead. Nothing was done then.
///
/// # Cancel safety
/// Dropping a call that only looks changes nothing. One that cancels or revokes may have done it.
#[remote_interface]
pub trait Inspector {
    /// The server, and what its inspector may do.
    #[remote(idempotent)]
    async fn about(&self) -> About;
    /// The objects that peers hold, the roots and the published ones.
    #[remote(idempotent, answer_bytes = 1_048_576)]
    async fn objects(&self, query: Query) -> Result<Objects, InspectError>;
    /// All that there is to know about one object. `own`: the inspector's own connections count among those who hold and call it.
    #[remote(idempotent, answer_bytes = 1_048_576)]
    async fn object(&self, id: u64, #[remote(default)] own: bool) -> Result<ObjectDetail, InspectError>;
    /// The calls that are in flight.
    #[remote(idempotent, answer_bytes = 1_048_576)]
    async fn calls(&self, query: Query) -> Result<Calls, InspectError>;
    /// The methods that were called, with how long they took.
    #[remote(idempotent, answer_bytes = 1_048_576)]
    async fn methods(&self, query: Query) -> Result<Methods, InspectError>;
    /// The connections that are open.
    #[remote(idempotent, answer_bytes = 1_048_576)]
    async fn connections(&self, query: Query) -> Result<Connections, InspectError>;
    /// The connections that have ended last: at most 16 that had greeted, and 16 that had not. The inspector's own are never among them.
    #[remote(idempotent)]
    async fn ended(&self, query: Query) -> Result<Endings, InspectError>;
    /// What each connection holds, by type: from the `offset`th connection on as many as 512 KiB hold.
    #[remote(idempotent, answer_bytes = 1_048_576)]
    async fn tree(&self, own: bool, offset: u64) -> Tree;
    /// The object itself, to be called; it needs the right to call.
    async fn reference(&self, id: u64) -> Result<AnyRef, InspectError>;
    /// The number of an object that the inspector gave, or one of its objects.
    async fn number(&self, object: AnyRef) -> Result<u64, InspectError>;
    /// Stops a call, whose caller is answered `Cancelled`; it needs the right to cancel.
    async fn cancel(&self, connection: u64, call: i64) -> Result<(), InspectError>;
    /// What happens from now on, as it happens: only what meets all conditions of `filter`, whose keys are the names of [`EventRow`]'s fields, and of the kinds in `events`
    /// (none for all of them). `own`: the inspector's own connections count. At most 16 may watch or record at the same time.
    async fn watch(
        &self,
        filter: Vec<String>,
        events: Vec<String>,
        own: bool,
    ) -> Result<EventsRef, InspectError>;
    /// The frames that pass from now on, on these connections (none for all, those that come included), in the form of [`recording`](super::recording). Without `bodies`, which
    /// needs the right to record bodies, nothing that programs say to each other is in it. The inspector's own connections are never recorded.
    async fn record(&self, connections: Vec<u64>, bodies: bool) -> Result<FramesRef, InspectError>;
    /// Takes the object away from all who hold it now, who are told the reason; it needs the right to revoke. Says from how many connections. Who
    /// is given the object again, or connects anew to a root, has it again.
    async fn revoke(&self, id: u64, reason: String) -> Result<u64, InspectError>;
}

/// What happens in a server, for one who watches. It ends when it is let go.
///
/// # Errors
/// The broker's failures.
///
/// # Cancel safety
/// Dropping a call may lose what it would have answered.
#[remote_interface]
pub trait Events {
    /// What has happened since the last time, at most 1,000 events. Waits for the first one; in vain for 10 s at the most.
    #[remote(answer_bytes = 1_048_576)]
    async fn next(&self) -> Happened;
}

/// What passes on connections, for one who records. It ends when it is let go.
///
/// # Errors
/// The broker's failures.
///
/// # Cancel safety
/// Dropping a call may lose what it would have answered: the recording is damaged then.
#[remote_interface]
pub trait Frames {
    /// The next bytes of the recording, its beginning first; an entry may be in two of them. Waits for some; in vain for 10 s at the most, and then gives none. What is not asked
    /// for is kept up to 4 MiB, and counted beyond.
    #[remote(answer_bytes = 1_048_576)]
    async fn next(&self) -> Bytes;
}

/// Something that a peer has done, or that was done for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventRow {
    /// When, by the server's clock, in microseconds since 1970 began.
    pub time_us: u64,
    /// `connected`: accepted, before a hello; `disconnected`: with everything that it held; `called`: a call or a cast has come; `answered`: with a value or a reference; `failed`:
    /// with the method's own error, or a failure of the broker; `exported`: it was given an object that it did not hold; `released`: it has let go of one; `revoked`: one that it
    /// holds is broken from now on, taken back or lost.
    pub event: String,
    /// The connection's number.
    pub connection: u64,
    /// Where it comes from.
    pub peer: String,
    /// The call's id on that connection; casts have none.
    pub call: Option<i64>,
    /// The method: of `exported` the one whose answer gave the object.
    pub method: Option<String>,
    /// The object: what was called, given, let go or broken; where it is there.
    pub object: Option<u64>,
    /// Its Rust type; of what lives elsewhere, nothing.
    pub type_name: String,
    /// The object's id on that connection: of `exported`, `released` and `revoked`.
    pub export: Option<i64>,
    /// Bytes of the arguments, or of the answer.
    pub bytes: Option<u64>,
    /// How long after the call had come it was answered.
    pub took_us: Option<u64>,
    /// The kind of the broker's failure, such as `Cancelled`, or `App` for the method's own error.
    pub failure: Option<String>,
    /// What is said of it: of a failure, of what broke an object, of what ended a connection.
    pub reason: Option<String>,
    /// Room for what later versions say.
    pub details: Details,
}

/// What has happened since the last time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Happened {
    /// In its order.
    pub rows: Vec<EventRow>,
    /// Events that came behind them, and found no room since nobody asked for so long.
    pub lost: u64,
}

/// Which rows, in which order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Query {
    /// Conditions that all hold: `KEY=TEXT`, `KEY!=TEXT`, `KEY~PART`, `KEY>NUMBER`, `KEY<NUMBER`. Keys are the names of the rows' fields. `type_name` is the
    /// whole name of the Rust type or the one without modules, as [`short_type`](super::short_type) makes it.
    pub filter: Vec<String>,
    /// The key to sort by, with `-` before it for the largest first.
    pub sort: Option<String>,
    /// How many rows to leave out at the beginning.
    pub offset: u64,
    /// How many rows to give, at most 1,000; fewer are given where they take more than 768 KiB.
    pub limit: u32,
    /// Whether the inspector's own connections count.
    pub own: bool,
}

/// The server, and what its inspector may do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// Of the package that serves.
    pub version: String,
    /// The process' number.
    pub process: u32,
    /// How long the server has run.
    pub uptime_ms: u64,
    /// Where it listens.
    pub listens: Vec<String>,
    /// Connections that are open.
    pub open: u64,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were refused for want of room.
    pub refused: u64,
    /// Connections that ended without a hello.
    pub failed: u64,
    /// Connections that ended later.
    pub ended: u64,
    /// What it allows beside looking: some of `call`, `cancel`, `revoke`, `bodies`.
    pub allows: Vec<String>,
    /// Room for what later versions say.
    pub details: Details,
}

/// Room for what later versions say of a row, as key and text.
pub type Details = Vec<(String, String)>;

/// An object, as it stands in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObjectRow {
    /// Its number here: the same as long as it lives, and never another one's.
    pub id: u64,
    /// `local`; `forwarded`: it lives with another peer of this process; `lent`: a form of one that can be taken back; `promise`; `broken`.
    pub kind: String,
    /// The Rust type; of what is forwarded, nothing.
    pub type_name: String,
    /// The one that it was handed out as comes first.
    pub interfaces: Vec<String>,
    /// `root`, and names that it is published by.
    pub names: Vec<String>,
    /// Connections that hold it, or have it as their root.
    pub holders: u64,
    /// Mentions that they have not given back.
    pub references: u64,
    /// Calls of theirs on it.
    pub calls: u64,
    /// Those of them that are not answered.
    pub in_flight: u64,
    /// Those that were answered with an error or a failure.
    pub failed: u64,
    /// How long somebody has held it.
    pub age_ms: u64,
    /// How long ago it was called last, if it was.
    pub idle_ms: Option<u64>,
    /// Held for a minute or longer, and never called: it may be forgotten.
    pub suspect: bool,
    /// Why it is broken, where it is.
    pub broken: Option<String>,
    /// Room for what later versions say.
    pub details: Details,
}

/// Some objects.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Objects {
    /// In the order that was asked for.
    pub rows: Vec<ObjectRow>,
    /// How many there are that meet the filter.
    pub total: u64,
    /// The offset of the next ones, if there are any.
    pub next: Option<u64>,
}

/// Who holds an object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HolderRow {
    /// The connection's number.
    pub connection: u64,
    /// Where it comes from.
    pub peer: String,
    /// The object's id on that connection; 0 is the root.
    pub export: i64,
    /// Mentions that it has not given back.
    pub references: u64,
    /// How long it has held it.
    pub age_ms: u64,
    /// The method whose answer handed it over.
    pub given_by: Option<String>,
    /// Its calls on it.
    pub calls: u64,
    /// Those that were answered with an error or a failure.
    pub failed: u64,
    /// How long ago it was called last, if it was.
    pub idle_ms: Option<u64>,
    /// Room for what later versions say.
    pub details: Details,
}

/// A field that the object shows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FieldRow {
    /// Its name.
    pub name: String,
    /// As its `Debug` writes it now.
    pub value: String,
    /// Whether there is more of it.
    pub cut: bool,
}

/// A method that an object has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignatureRow {
    /// `Interface/method`.
    pub name: String,
    /// Name, parameters and types.
    pub signature: String,
    /// Its doc comment.
    pub docs: String,
}

/// All that there is to know about an object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObjectDetail {
    /// As it stands in a list.
    pub row: ObjectRow,
    /// Those that are marked `#[inspect]`.
    pub fields: Vec<FieldRow>,
    /// Why there are none, where that is not for want of marks.
    pub no_fields: Option<String>,
    /// What it can be called by, as it describes itself; of what does not live in this process, nothing.
    pub methods: Vec<SignatureRow>,
    /// Who holds it, at most 200, those with most mentions first.
    pub holders: Vec<HolderRow>,
    /// Room for what later versions say.
    pub details: Details,
}

/// A call that is in flight.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallRow {
    /// The connection's number.
    pub connection: u64,
    /// The call's id on that connection.
    pub call: i64,
    /// The method; empty where its caller has given it no number.
    pub method: String,
    /// The object that it is called on, where that is known.
    pub object: Option<u64>,
    /// Its Rust type.
    pub type_name: String,
    /// Who called.
    pub peer: String,
    /// How long ago it came.
    pub age_ms: u64,
    /// How long it has until its deadline, where it has one.
    pub deadline_ms: Option<u64>,
    /// `waiting`: its method has started and waits for something; `queued`: for the result of another call; `forwarded`; `stopping`: its caller has given it up, or its
    /// time is over; `held back`: it is not started, since its caller does not read the answers that it has; `starting`: it is about to start, runs to its end whatever happens, or
    /// keeps its thread.
    pub state: String,
    /// The call whose result it waits for.
    pub waits_for: Option<i64>,
    /// Where it was passed on to.
    pub forwarded_to: Option<String>,
    /// Room for what later versions say.
    pub details: Details,
}

/// Some calls.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Calls {
    /// In the order that was asked for.
    pub rows: Vec<CallRow>,
    /// How many there are that meet the filter.
    pub total: u64,
    /// The offset of the next ones, if there are any.
    pub next: Option<u64>,
}

/// The calls of one method by those who are connected now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MethodRow {
    /// Its name; empty for all that are not counted apart.
    pub method: String,
    /// Calls that were answered.
    pub calls: u64,
    /// Those with the method's own error.
    pub errors: u64,
    /// Those with a failure of the broker.
    pub failures: u64,
    /// The same by kind: those kinds that there were.
    pub failures_by_kind: BTreeMap<String, u64>,
    /// The two together.
    pub failed: u64,
    /// Calls that are not answered yet.
    pub in_flight: u64,
    /// How long ago the oldest of those came.
    pub oldest_ms: Option<u64>,
    /// Within this half of them were answered, about.
    pub p50_us: Option<u64>,
    /// The same of 99 in a hundred.
    pub p99_us: Option<u64>,
    /// The longest that was measured.
    pub max_us: u64,
    /// Room for what later versions say.
    pub details: Details,
}

/// Some methods.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Methods {
    /// In the order that was asked for.
    pub rows: Vec<MethodRow>,
    /// How many there are that meet the filter.
    pub total: u64,
    /// The offset of the next ones, if there are any.
    pub next: Option<u64>,
}

/// An open connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionRow {
    /// Its number.
    pub connection: u64,
    /// Where it comes from.
    pub peer: String,
    /// Where it has connected to.
    pub listener: String,
    /// How long it has been open.
    pub age_ms: u64,
    /// Objects of this process that it holds.
    pub objects: u64,
    /// Objects of its that this process holds.
    pub imports: u64,
    /// Its calls that are not answered.
    pub in_flight: u64,
    /// Its one-way calls that have not ended.
    pub casts_in_flight: u64,
    /// Its calls that came, one-way calls included.
    pub calls: u64,
    /// Those that were answered with the method's own error.
    pub errors: u64,
    /// Those that were answered with a failure of the broker.
    pub failures: u64,
    /// The two together.
    pub failed: u64,
    /// Calls of this process on its objects that it has not answered.
    pub owes: u64,
    /// Bytes that were read from it.
    pub bytes_in: u64,
    /// Bytes that were sent to it, or wait for it.
    pub bytes_out: u64,
    /// Bytes of answers that wait until it reads.
    pub unread_bytes: u64,
    /// It reads so little that none of its calls is started.
    pub halted: bool,
    /// How often what it called held up its connection for a second or longer.
    pub held_up: u64,
    /// Room for what later versions say.
    pub details: Details,
}

/// Some connections.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connections {
    /// In the order that was asked for.
    pub rows: Vec<ConnectionRow>,
    /// How many there are that meet the filter.
    pub total: u64,
    /// The offset of the next ones, if there are any.
    pub next: Option<u64>,
}

/// A connection that has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndRow {
    /// Its number, which no other has.
    pub connection: u64,
    /// Where it came from.
    pub peer: String,
    /// Where it had connected to.
    pub listener: String,
    /// Whether its hello had come.
    pub greeted: bool,
    /// When it ended, by the server's clock, in microseconds since 1970 began.
    pub time_us: u64,
    /// How long ago that was.
    pub ago_ms: u64,
    /// How long it had lasted: from its hello on, or from when it was accepted where none came.
    pub lasted_ms: u64,
    /// Objects of this process that it held then.
    pub objects: u64,
    /// The kind of what ended it, such as `Disconnected` or `Protocol`.
    pub kind: String,
    /// The same in words, at most 256 bytes; the peer may have written them.
    pub reason: String,
    /// Room for what later versions say.
    pub details: Details,
}

/// Some connections that have ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endings {
    /// In the order that was asked for.
    pub rows: Vec<EndRow>,
    /// How many there are that meet the filter.
    pub total: u64,
    /// The offset of the next ones, if there are any.
    pub next: Option<u64>,
}

/// What some connections hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tree {
    /// In the order of the connections' numbers.
    pub branches: Vec<Branch>,
    /// The offset of the next ones, if there are any.
    pub next: Option<u64>,
}

/// What one connection holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Branch {
    /// Its number.
    pub connection: u64,
    /// Where it comes from.
    pub peer: String,
    /// By type, those with most objects first; at most 32.
    pub groups: Vec<Group>,
}

/// Objects of one type that one connection holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// As in [`ObjectRow::kind`].
    pub kind: String,
    /// The Rust type.
    pub type_name: String,
    /// How many there are.
    pub objects: u64,
    /// The number of one of them.
    pub example: u64,
    /// Calls on them.
    pub calls: u64,
    /// Those of them that are suspect.
    pub suspects: u64,
}

/// Why an inspector does not do something.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum InspectError {
    /// The token is not the one.
    #[error(
        "the token is not the one of this server: it stands in the file that the server was told of by `Inspect::token_file`, or has made there"
    )]
    Token,
    /// It is not allowed.
    #[error("this inspector does not allow to {right}: {}", granted_by(.right))]
    NotAllowed {
        /// `call`, `cancel`, `revoke`, or `record bodies`.
        right: String,
    },
    /// There is no such object.
    #[error(
        "there is no object @{id} any more, or there never was; one that lives on and is held for moments only is told of when it comes: `pb watch URL -f object=@{id}`"
    )]
    NoObject {
        /// Its number.
        id: u64,
    },
    /// There is no such call.
    #[error("there is no call {connection}/{call} in flight any more, or there never was")]
    NoCall {
        /// The connection's number.
        connection: u64,
        /// The call's.
        call: i64,
    },
    /// Nothing stops it.
    #[error("call {connection}/{call} cannot be stopped: its method runs to its end, or is about to start")]
    RunsToEnd {
        /// The connection's number.
        connection: u64,
        /// The call's.
        call: i64,
    },
    /// A condition that is none.
    #[error(
        "{text:?} is no condition: write KEY=TEXT, KEY!=TEXT, KEY~PART, KEY>NUMBER or KEY<NUMBER; keys are {keys}"
    )]
    Filter {
        /// What was said.
        text: String,
        /// The keys that there are.
        keys: String,
    },
    /// Too many look on already.
    #[error("{most} watch or record already, which is all that may at the same time")]
    TooMany {
        /// How many there may be.
        most: u64,
    },
    /// A kind of event that there is not.
    #[error("{text:?} is no event; events are {events}")]
    Event {
        /// What was said.
        text: String,
        /// Those that there are.
        events: String,
    },
    /// A key that no row has.
    #[error("there is no key {key:?} to sort by; keys are {keys}")]
    Sort {
        /// What was said.
        key: String,
        /// The keys that there are.
        keys: String,
    },
}

/// What a server's author writes so that it is allowed.
fn granted_by(right: &str) -> String {
    let method = match right {
        "call" => "allow_call",
        "cancel" => "allow_cancel",
        "revoke" => "allow_revoke",
        "record bodies" => "allow_bodies",
        _ => return "the server grants that, or does not".to_owned(),
    };
    format!("its server grants that with `Inspect::{method}()` in what it gives to `Server::inspect`")
}
