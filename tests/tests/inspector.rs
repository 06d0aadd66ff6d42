//! Looking into a server from outside: who may, what is shown, and what is not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use pb_client::{AnyRef, Broker, Value, connect};
use pb_server::inspect::{Inspect, InspectError, InspectorDoorRef, InspectorRef, Query};
use pb_server::{CallError, FailureKind, Referenceable, Running, ServeError, Server, remote_interface};
use pb_tests::live::{soon, until};

const SECRET: &str = "5e9d1f0c-canary-of-32-bytes-4b7a";

/// Keeps accounts.
#[remote_interface]
trait Bank {
    /// Opens an account.
    async fn open(&self, owner: String) -> AccountRef;
    /// Never answers.
    async fn audit(&self) -> u64;
}

/// An account.
#[remote_interface]
trait Account {
    /// Adds `cents`, and says what there is then.
    async fn deposit(&self, cents: u64) -> u64;
}

#[derive(Referenceable)]
struct City {
    #[allow(dead_code, reason = "it is there to be kept secret")]
    secret: &'static str,
}

impl Bank for City {
    async fn open(&self, owner: String) -> AccountRef {
        AccountRef::new(Savings { owner, cents: 0.into(), pin: SECRET })
    }

    async fn audit(&self) -> u64 {
        std::future::pending().await
    }
}

#[derive(Referenceable)]
struct Savings {
    #[inspect]
    owner: String,
    #[inspect]
    cents: std::sync::atomic::AtomicU64,
    #[allow(dead_code, reason = "it is there to be kept secret")]
    pin: &'static str,
}

impl Account for Savings {
    async fn deposit(&self, cents: u64) -> u64 {
        self.cents.fetch_add(cents, std::sync::atomic::Ordering::Relaxed) + cents
    }
}

async fn serve(at: impl FnOnce(&Path) -> Inspect) -> (Running, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let server =
        Server::new(BankRef::new(City { secret: SECRET })).listen("tcp://127.0.0.1:0").await.expect("a port");
    let running = server.inspect(at(dir.path())).await.expect("a socket").spawn().expect("it listens");
    (running, dir)
}

fn unix(dir: &Path) -> Inspect {
    Inspect::at(format!("unix://{}/inspect", dir.display()))
}

async fn look(running: &Running) -> (Broker, InspectorRef) {
    let broker = soon(connect(running.inspector_url().expect("it is inspected"))).await.expect("it is there");
    let door: InspectorDoorRef = broker.root();
    let inspector = soon(door.enter(String::new())).await.expect("nobody asks for a token");
    (broker, inspector)
}

fn all() -> Query {
    Query { limit: 1000, ..Query::default() }
}

#[tokio::test]
async fn nobody_looks_into_a_server_that_says_nothing_of_it() {
    let server =
        Server::new(BankRef::new(City { secret: SECRET })).listen("tcp://127.0.0.1:0").await.expect("a port");
    let running = server.spawn().expect("it listens");
    assert_eq!(running.inspector_url(), None);
    let broker = soon(connect(running.url())).await.expect("it is there");
    let door: InspectorDoorRef = broker.root();
    let Err(CallError::Broker(refused)) = soon(door.enter(String::new())).await else {
        panic!("it let us in")
    };
    assert_eq!(refused.kind, FailureKind::Unimplemented);
    assert_eq!(
        soon(broker.named::<AnyRef>("inspector")).await.err().map(|failure| failure.kind),
        Some(FailureKind::Unimplemented)
    );
}

#[tokio::test]
async fn only_this_user_may_connect_to_the_socket() {
    let (running, dir) = serve(unix).await;
    let mode = fs::metadata(dir.path().join("inspect")).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(running);
}

#[tokio::test]
async fn addresses_that_others_reach_are_refused_and_loopback_wants_a_token() {
    let inspected = |at: Inspect| async {
        let server = Server::new(BankRef::new(City { secret: SECRET }))
            .listen("tcp://127.0.0.1:0")
            .await
            .expect("a port");
        server.inspect(at).await.err().map(|error| error.to_string())
    };
    for address in [
        "tcp://0.0.0.0:0",
        "tcp://[::]:0",
        "tcp://10.0.0.1:0",
        "tcp://example.org:0",
        "tcp://localhost.example.org:0",
    ] {
        let error = inspected(Inspect::at(address)).await.expect("refused");
        assert!(error.starts_with("an inspector is not served at tcp://"), "{error}");
    }
    let error = inspected(Inspect::at("tcp://127.0.0.1:0")).await.expect("refused");
    assert!(error.contains("wants a token") && error.contains("`Inspect::token_file`"), "{error}");
}

#[tokio::test]
async fn the_token_is_made_for_this_user_alone_and_nothing_else_opens_the_door() {
    let (running, dir) = serve(|dir| Inspect::at("tcp://127.0.0.1:0").token_file(dir.join("token"))).await;
    let path = dir.path().join("token");
    assert_eq!(fs::metadata(&path).expect("it was made").permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&path).expect("a text");
    assert_eq!(token.trim().len(), 64);

    let broker = soon(connect(running.inspector_url().expect("it is inspected"))).await.expect("it is there");
    let door: InspectorDoorRef = broker.root();
    let flipped = token.trim().replace(['0', '1'], "2");
    for wrong in ["", "0", &token.trim()[..63], &format!("{}0", token.trim()), &flipped] {
        assert_eq!(soon(door.enter(wrong.to_owned())).await.err(), Some(CallError::App(InspectError::Token)));
    }
    // What the door leads to cannot be called without it.
    let inspector: InspectorRef = broker.root::<AnyRef>().remote().cast();
    assert_eq!(
        soon(inspector.about()).await.err().map(|failure| failure.kind),
        Some(FailureKind::Unimplemented)
    );
    let inspector = soon(door.enter(token)).await.expect("it is the token");
    assert_eq!(soon(inspector.about()).await.expect("it answers").allows, [""; 0]);
}

#[tokio::test]
async fn a_token_that_others_may_read_is_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("token");
    for (text, mode, says) in [("0123456789abcdef", 0o644, "chmod 600"), ("short", 0o600, "has 5 bytes")] {
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        let server = Server::new(BankRef::new(City { secret: SECRET }))
            .listen("tcp://127.0.0.1:0")
            .await
            .expect("a port");
        let error =
            server.inspect(Inspect::at("tcp://127.0.0.1:0").token_file(&path)).await.err().expect("refused");
        assert!(matches!(error, ServeError::Inspect(_)) && error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn looking_changes_nothing_unless_it_is_granted() {
    let (running, _dir) = serve(unix).await;
    let client = soon(connect(running.url())).await.expect("it is there");
    let bank: BankRef = client.root();
    let account = soon(bank.open("ada".into())).await.expect("it opens");
    let hangs = bank.audit();
    let (_broker, inspector) = look(&running).await;
    let id = soon(inspector.objects(all())).await.expect("a list").rows[0].id;
    let not = |right: &str| Some(CallError::App(InspectError::NotAllowed { right: right.into() }));
    assert_eq!(soon(inspector.reference(id)).await.err(), not("call"));
    assert_eq!(soon(inspector.cancel(1, 2)).await.err(), not("cancel"));
    assert_eq!(soon(inspector.revoke(id, "why".into())).await.err(), not("revoke"));
    assert_eq!(soon(account.deposit(1)).await, Ok(1));
    drop(hangs);
}

#[tokio::test]
async fn what_is_granted_calls_cancels_and_revokes() {
    let (running, _dir) = serve(|dir| unix(dir).allow_call().allow_cancel().allow_revoke()).await;
    let client = soon(connect(running.url())).await.expect("it is there");
    let bank: BankRef = client.root();
    let account = soon(bank.open("ada".into())).await.expect("it opens");
    let hangs = bank.audit();
    let (_broker, inspector) = look(&running).await;
    let query = Query { filter: vec!["interfaces=Account".into()], ..all() };
    let row = soon(inspector.objects(query)).await.expect("a list").rows.remove(0);
    let found = soon(inspector.reference(row.id)).await.expect("it is there");
    let description = soon(found.remote().describe()).await.expect("it tells");
    let deposit = description.method("deposit").expect("it has one");
    assert_eq!(soon(found.remote().invoke(deposit, (5_u64,))).await, Ok(Value::Int(5)));
    assert_eq!(soon(account.deposit(1)).await, Ok(6));
    assert_eq!(soon(inspector.number(found)).await, Ok(row.id));

    let waiting = Query { filter: vec!["state=waiting".into()], ..all() };
    let call = loop {
        let found = soon(inspector.calls(waiting.clone())).await.expect("a list").rows;
        if let Some(call) = found.into_iter().find(|call| call.method == "Bank/audit") {
            break call;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(soon(inspector.cancel(call.connection, call.call)).await, Ok(()));
    assert_eq!(soon(hangs).await.err().map(|failure| failure.kind), Some(FailureKind::Cancelled));

    let methods = soon(inspector.methods(all())).await.expect("a list").rows;
    let audit = methods.iter().find(|row| row.method == "Bank/audit").expect("it was called");
    let kinds: Vec<_> = audit.failures_by_kind.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!((audit.failures, kinds), (1, vec![("Cancelled", 1)]));

    let broken = account.remote().on_broken();
    assert_eq!(soon(inspector.revoke(row.id, "the audit\u{1b}[2J is over".into())).await, Ok(1));
    assert!(soon(broken).await.to_string().contains("the audit[2J is over"));
    let query = Query { filter: vec!["kind=broken".into()], ..all() };
    let broken = soon(inspector.objects(query)).await.expect("a list").rows;
    assert!(broken[0].broken.as_ref().is_some_and(|why| why.contains("is over")), "{broken:?}");
}

/// Attack A76: nothing that is not marked is ever said, in whatever list or page.
#[tokio::test]
async fn fields_that_are_not_marked_are_in_no_answer_and_those_that_are_obey_nothing() {
    let (running, _dir) = serve(unix).await;
    let client = soon(connect(running.url())).await.expect("it is there");
    let bank: BankRef = client.root();
    let account = soon(bank.open("\u{1b}]0;title\u{7}ada".into())).await.expect("it opens");
    assert_eq!(soon(account.deposit(7)).await, Ok(7));
    let hangs = bank.audit();
    let (_broker, inspector) = look(&running).await;
    let rows = soon(inspector.objects(all())).await.expect("a list").rows;
    let mut said = format!("{rows:?}");
    let mut fields = Vec::new();
    for row in &rows {
        let detail = soon(inspector.object(row.id, false)).await.expect("it is there");
        said.push_str(&format!("{detail:?}"));
        fields.extend(detail.fields.into_iter().map(|field| (field.name, field.value)));
    }
    said.push_str(&format!("{:?}", soon(inspector.calls(all())).await.expect("a list")));
    said.push_str(&format!("{:?}", soon(inspector.methods(all())).await.expect("a list")));
    said.push_str(&format!("{:?}", soon(inspector.connections(all())).await.expect("a list")));
    said.push_str(&format!("{:?}", soon(inspector.tree(true, 0)).await.expect("a list")));
    said.push_str(&format!("{:?}", soon(inspector.about()).await));
    assert!(!said.contains("canary") && said.contains("Savings"), "{said}");
    fields.sort();
    assert_eq!(fields[0], ("cents".to_owned(), "7".to_owned()));
    assert_eq!(fields[1].0, "owner");
    assert!(!fields[1].1.contains(char::is_control) && fields[1].1.contains("ada"), "{}", fields[1].1);
    drop((account, hangs));
}

#[tokio::test]
async fn its_own_connections_are_in_no_list_unless_they_are_asked_for() {
    let (running, _dir) = serve(unix).await;
    let (_broker, inspector) = look(&running).await;
    assert_eq!(soon(inspector.connections(all())).await.expect("a list").total, 0);
    assert_eq!(soon(inspector.calls(all())).await.expect("a list").total, 0);
    assert_eq!(soon(inspector.methods(all())).await.expect("a list").total, 0);
    let own = Query { own: true, ..all() };
    assert_eq!(soon(inspector.connections(own.clone())).await.expect("a list").total, 1);
    let calls = soon(inspector.calls(own)).await.expect("a list").rows;
    assert_eq!(calls.iter().map(|call| call.method.as_str()).collect::<Vec<_>>(), ["Inspector/calls"]);
    assert_eq!(running.statistics().accepted, 0);
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged_by_the_server() {
    let (running, _dir) = serve(unix).await;
    let client = soon(connect(running.url())).await.expect("it is there");
    let bank: BankRef = client.root();
    let mut accounts = Vec::new();
    for n in 0..25_u64 {
        let account = soon(bank.open(n.to_string())).await.expect("it opens");
        for _ in 0..n {
            soon(account.deposit(1)).await.expect("it takes it");
        }
        accounts.push(account);
    }
    let (_broker, inspector) = look(&running).await;
    let query = |offset| Query {
        filter: vec!["type_name~Savings".into(), "calls>4".into()],
        sort: Some("-calls".into()),
        offset,
        limit: 8,
        own: false,
    };
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let page = soon(inspector.objects(query(offset))).await.expect("a page");
        assert_eq!(page.total, 20);
        assert!(page.rows.len() <= 8);
        found.extend(page.rows.iter().map(|row| row.calls));
        let Some(next) = page.next else { break };
        offset = next;
    }
    assert_eq!(found, (5..25).rev().collect::<Vec<u64>>());
    let wrong = Query { filter: vec!["size>3".into()], ..all() };
    let Err(CallError::App(error)) = soon(inspector.objects(wrong)).await else { panic!("it took it") };
    assert!(error.to_string().starts_with("\"size>3\" is no condition"), "{error}");
}

#[tokio::test]
async fn numbers_of_objects_are_never_used_again() {
    let (running, _dir) = serve(unix).await;
    let client = soon(connect(running.url())).await.expect("it is there");
    let bank: BankRef = client.root();
    let (_broker, inspector) = look(&running).await;
    let query = Query { filter: vec!["interfaces=Account".into()], ..all() };
    let mut known = std::collections::BTreeSet::new();
    for n in 0..20 {
        let account = soon(bank.open(n.to_string())).await.expect("it opens");
        let rows = soon(inspector.objects(query.clone())).await.expect("a list").rows;
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert!(known.insert(row.id), "@{} is another one now", row.id);
        drop(account);
        let gone = async || soon(inspector.objects(query.clone())).await.expect("a list").total == 0;
        while !gone().await {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            soon(inspector.object(row.id, false)).await.err(),
            Some(CallError::App(InspectError::NoObject { id: row.id }))
        );
    }
}

#[tokio::test]
async fn an_object_that_is_root_and_published_and_held_is_one_and_its_holders_are_all_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let bank = BankRef::new(City { secret: SECRET });
    let server = Server::new(bank.clone()).publish("bank", &bank).expect("a name");
    let server = server.listen("tcp://127.0.0.1:0").await.expect("a port");
    let running = server.inspect(unix(dir.path())).await.expect("a socket").spawn().expect("it listens");
    let (one, other) = (
        soon(connect(running.url())).await.expect("there"),
        soon(connect(running.url())).await.expect("there"),
    );
    let named: BankRef = soon(one.named("bank")).await.expect("it is published");
    let _account = soon(named.open("ada".into())).await.expect("it opens");
    let (_broker, inspector) = look(&running).await;
    let query = Query { filter: vec!["interfaces=Bank".into()], ..all() };
    let rows = soon(inspector.objects(query)).await.expect("a list").rows;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(
        row.names.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        ["bank", "root"].into()
    );
    let detail = soon(inspector.object(row.id, false)).await.expect("it is there");
    assert_eq!((detail.row.id, detail.row.holders, detail.holders.len()), (row.id, row.holders, 3));
    let mut holders: Vec<_> =
        detail.holders.iter().map(|holder| (holder.connection, holder.export)).collect();
    holders.sort_unstable();
    assert!(matches!(holders[..], [(1, below), (1, 0), (2, 0)] if below < 0), "{holders:?}");
    drop((named, other));
}

#[tokio::test]
async fn a_tree_goes_on_where_its_first_part_ended() {
    let (running, _dir) = serve(unix).await;
    let _clients = (
        soon(connect(running.url())).await.expect("it is there"),
        soon(connect(running.url())).await.expect("it is there"),
    );
    let (_broker, inspector) = look(&running).await;
    let of = async |offset| {
        let tree = soon(inspector.tree(false, offset)).await.expect("a tree");
        assert_eq!(tree.next, None);
        tree.branches.iter().map(|branch| branch.connection).collect::<Vec<_>>()
    };
    assert_eq!((of(0).await, of(1).await, of(u64::MAX).await), (vec![1, 2], vec![2], vec![]));
}

/// Attack A84: who finds the socket's name finds nobody who listens once the server has ended.
#[tokio::test]
async fn the_socket_goes_with_its_server() {
    let (running, dir) = serve(unix).await;
    let (broker, _inspector) = look(&running).await;
    drop(running);
    let gone = soon(broker.closed()).await;
    assert_eq!(gone.kind, FailureKind::Disconnected);
    until(|| !dir.path().join("inspect").exists(), || "the socket is still there".to_owned()).await;
}

#[tokio::test]
async fn a_server_that_drains_can_be_looked_into_until_its_last_connection_has_gone() {
    let (running, _dir) = serve(unix).await;
    let client = soon(connect(running.url())).await.expect("it is there");
    let bank: BankRef = client.root();
    let hangs = bank.audit();
    let (_broker, inspector) = look(&running).await;
    while soon(inspector.calls(all())).await.expect("a list").total == 0 {
        tokio::task::yield_now().await;
    }
    let drained = tokio::spawn(running.drain(Duration::from_secs(3600)));
    soon(client.leaving()).await.expect("it leaves");
    let calls = soon(inspector.calls(all())).await.expect("a list").rows;
    assert_eq!(calls.iter().map(|call| call.method.as_str()).collect::<Vec<_>>(), ["Bank/audit"]);
    drop((hangs, bank));
    soon(drained).await.expect("it ends");
}
