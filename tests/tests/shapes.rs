//! Shapes: what is traced, printed, hashed and sent. `docs/protocol.md`, section 10.1, and `docs/shapes.md`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pb_core::wire::body::{self, Bytes};
use pb_core::wire::shape::{Opaque, Plain, Prototype, Shape, Why, print, trace, tracing};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(rename = "pb::Ref<Bank>")]
struct BankRef(u32);

#[derive(Serialize, Deserialize)]
struct Receipt {
    id: uuid::Uuid,
    from: BankRef,
    nested: Vec<Option<BankRef>>,
    cents: u64,
}

#[derive(Serialize, Deserialize)]
enum Event {
    Nothing,
    Paid(u64),
    Moved(BankRef, i32),
    Closed { at: u32, why: Option<String> },
}

#[derive(Serialize, Deserialize)]
struct Node {
    value: u8,
    next: Option<Box<Node>>,
}

#[derive(Serialize, Deserialize)]
enum Expr {
    Number(i64),
    Add(Box<Expr>, Box<Expr>),
    Call { name: String, arguments: Vec<Expr> },
}

#[derive(Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[derive(Serialize, Deserialize)]
struct Ping {
    pong: Option<Box<Pong>>,
}

#[derive(Serialize, Deserialize)]
struct Pong {
    ping: Vec<Ping>,
}

#[derive(Serialize, Deserialize)]
struct G<T> {
    inner: T,
}

#[derive(Serialize, Deserialize)]
struct Renamed {
    #[serde(rename = "kind of")]
    kind: u8,
    #[serde(default)]
    note: String,
    #[serde(skip)]
    _cache: u64,
}

#[derive(Serialize, Deserialize)]
struct Aliased {
    #[serde(alias = "a", alias = "z")]
    first: u8,
    #[serde(alias = "other")]
    second: String,
}

#[derive(Serialize, Deserialize)]
enum AliasedVariants {
    #[serde(alias = "Uno")]
    One,
    Two(u8),
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    cents: u64,
}

/// Refuses what has no `@` in it.
#[derive(Serialize)]
struct Email(String);

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.contains('@') { Ok(Email(text)) } else { Err(D::Error::custom("not an address")) }
    }
}

/// Valid only together.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)")]
struct Growing(u8, u8);

impl TryFrom<(u8, u8)> for Growing {
    type Error = &'static str;
    fn try_from((from, to): (u8, u8)) -> Result<Self, Self::Error> {
        if from > 0 && to >= from { Ok(Growing(from, to)) } else { Err("not growing") }
    }
}

/// Refuses everything, after it has asked.
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?;
        Err(D::Error::custom("never"))
    }
}

/// Panics at what it does not like.
struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        assert_eq!(u32::deserialize(deserializer)?, 2, "a panic of the test, caught by the tracer");
        Ok(Panics)
    }
}

/// Refuses everything, and has fields.
struct Stubborn;

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            #[allow(dead_code, reason = "only asked for")]
            x: u8,
        }
        Fields::deserialize(deserializer)?;
        Err(D::Error::custom("never"))
    }
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only traced")]
struct BehindStubborn {
    stubborn: Stubborn,
    never: Never,
    seen: Expr,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "only traced")]
enum Untagged {
    Number(u8),
}

#[derive(Deserialize)]
#[serde(tag = "kind")]
#[allow(dead_code, reason = "only traced")]
enum Tagged {
    Point { x: u8 },
}

#[derive(Deserialize)]
#[serde(tag = "kind", content = "content")]
#[allow(dead_code, reason = "only traced")]
enum Adjacent {
    Number(u8),
    Text(String),
}

/// What follows depends on what was read.
struct Versioned;

impl<'de> Deserialize<'de> for Versioned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Versioned;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a version and its content")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Versioned, A::Error> {
                let refuse = || A::Error::custom("another version, please");
                match seq.next_element::<u8>()? {
                    Some(0) => seq.next_element::<u32>()?.map(drop).ok_or_else(refuse).and(Err(refuse())),
                    _ => seq.next_element::<String>()?.map(|_| Versioned).ok_or_else(refuse),
                }
            }
        }
        deserializer.deserialize_tuple(2, Visitor)
    }
}

/// Rows of the table in `docs/shapes.md`: type and canonical text.
macro_rules! table {
    ($($of:ty),* $(,)?) => { vec![$((stringify!($of).replace('\n', " "), trace::<$of>().to_string())),*] };
}

fn table() -> Vec<(String, String)> {
    table![
        (), bool, i8, u128, usize, f32, char, String, Bytes, serde_bytes::ByteBuf, Vec<u8>,
        Option<u8>, Vec<String>, VecDeque<i16>, HashSet<String>, BTreeSet<u8>, [u8; 16], (u8, u8), (u8, String), (u8,),
        HashMap<String, u64>, BTreeMap<u8, Vec<bool>>, Result<u8, String>, Box<str>, Rc<u8>, Arc<str>, Cow<'static, str>,
        std::cell::RefCell<u8>, std::sync::Mutex<u8>, PhantomData<u8>, std::ops::Range<u32>, std::ops::Bound<u8>,
        PathBuf, IpAddr, SocketAddr, (Duration, SystemTime), (NonZeroU8, NonZeroU32),
        (uuid::Uuid, u8), (chrono::DateTime<chrono::Utc>, u8), (chrono::NaiveDate, chrono::NaiveTime, u8),
        (time::OffsetDateTime, u8), (time::Date, u8),
        BankRef, Receipt, Event, Node, Expr, Tree, Ping, G<u8>, G<String>, Renamed, Aliased, AliasedVariants, Transparent,
        (Email, u8), (Growing, u8), (Panics, u8), Never, (Never, u8), BehindStubborn, (Stubborn, u8), (Versioned, u8),
        Untagged, Tagged, Adjacent, serde_json::Value, (serde_json::Value, u8),
    ]
}

#[test]
fn the_table_in_the_docs_is_what_is_traced() {
    let page = include_str!("../../docs/shapes.md");
    let (_, table_of_types) = page.split_once("| how it ended |").expect("the page has the table");
    let rows: Vec<&str> = table_of_types.lines().filter(|line| line.starts_with("| `")).collect();
    let mut wrong = String::new();
    for (name, text) in table() {
        // A bar ends a column in Markdown, in code too.
        let row = format!("| `{name}` | `{}` |", text.replace('|', "\\|"));
        if !rows.iter().any(|line| line.starts_with(&row)) {
            wrong.push_str(&format!("{row}\n"));
        }
    }
    assert!(wrong.is_empty(), "docs/shapes.md lacks these rows:\n{wrong}");
    assert_eq!(rows.len(), table().len(), "docs/shapes.md has rows that nobody traces");
}

#[test]
fn a_trace_is_the_same_every_time() {
    assert_eq!(table(), table());
}

#[test]
fn generics_of_one_name_differ() {
    assert_ne!(trace::<G<u8>>(), trace::<G<String>>());
}

#[test]
fn names_of_types_do_not_count_and_names_of_fields_and_variants_do() {
    mod other {
        use super::*;
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only traced")]
        pub struct Knot {
            value: Wrapped,
            next: Option<Box<Knot>>,
        }
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only traced")]
        pub struct Wrapped(u8);
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only traced")]
        pub struct Other {
            worth: u8,
            next: Option<Box<Other>>,
        }
    }
    let text = |shape: Shape| shape.to_string();
    assert_eq!(text(trace::<Node>()), text(trace::<other::Knot>()));
    assert_ne!(text(trace::<Node>()), text(trace::<other::Other>()));
}

#[test]
fn the_interface_behind_a_reference_counts() {
    #[derive(Deserialize)]
    #[serde(rename = "pb::Ref<Account>")]
    #[allow(dead_code, reason = "only traced")]
    struct AccountRef(u32);
    assert_eq!(trace::<AccountRef>(), Shape::Reference("Account".into()));
    assert_ne!(trace::<AccountRef>(), trace::<BankRef>());
}

#[test]
fn people_see_the_names_of_types_too() {
    assert_eq!(format!("{:#}", trace::<G<Node>>()), "G{inner:Node{value:u8,next:?^2}}");
    assert_eq!(format!("{:#}", trace::<Tree>()), "Tree([^1])");
}

#[test]
fn names_that_are_no_words_are_quoted() {
    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only traced")]
    struct Odd {
        #[serde(rename = "a:u8,b\"\\")]
        a: u8,
    }
    assert_eq!(trace::<Odd>().to_string(), r#"{"a:u8,b\"\\":u8}"#);
}

#[test]
fn what_asks_a_body_for_its_type_is_marked_as_never_to_be_sent() {
    let Shape::Opaque(Opaque { type_name, why }) = trace::<Untagged>() else { panic!("not opaque") };
    assert_eq!((type_name.as_str(), why), ("Untagged", Why::SelfDescribing));
}

#[test]
fn bytes_are_copied_whole_and_vectors_of_u8_are_not() {
    assert_eq!(trace::<Bytes>(), Shape::Plain(Plain::Bytes));
    assert_eq!(trace::<Vec<u8>>(), Shape::Seq(Box::new(Shape::Plain(Plain::U8))));
}

#[test]
fn a_type_knows_that_it_is_traced_and_the_flag_is_put_back() {
    struct Nosy;
    impl<'de> Deserialize<'de> for Nosy {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            assert!(tracing(), "tracing is on");
            trace::<u8>();
            assert!(tracing(), "tracing is still on");
            u8::deserialize(deserializer).map(|_| Nosy)
        }
    }
    assert!(!tracing());
    assert_eq!(trace::<Nosy>(), Shape::Plain(Plain::U8));
    assert!(!tracing());
    trace::<Panics>();
    assert!(!tracing());
}

#[test]
fn types_that_multiply_and_types_that_are_huge_end_as_opaque() {
    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only traced")]
    struct Ten<T>(Box<[Vec<T>; 10]>, Box<T>);
    type Million = Ten<Ten<Ten<Ten<Ten<Ten<u8>>>>>>;
    let text = format!("{:?}", trace::<Million>());
    assert!(text.contains("TooLarge"), "{} bytes", text.len());
    assert!(matches!(trace::<Huge>(), Shape::Opaque(Opaque { why: Why::TooLarge, .. })));

    struct Huge;
    impl<'de> Deserialize<'de> for Huge {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_tuple(usize::MAX, serde::de::IgnoredAny).map(|_| Huge)
        }
    }
}

// ---- fingerprints ------------------------------------------------------------------------------------------------

#[test]
fn a_print_is_the_hash_of_the_text_on_the_protocol_page() {
    let (text, u64_) = (trace::<String>(), trace::<u64>());
    let prototype =
        Prototype { name: "Bank/open", arguments: std::slice::from_ref(&text), ok: &u64_, err: Some(&text) };
    assert_eq!(prototype.to_string(), "Bank/open(str)->u64!str");
    assert_eq!(
        print("Bank/open", std::slice::from_ref(&text), &u64_, Some(&text)),
        fnv("Bank/open(str)->u64!str")
    );
    assert_eq!(print("Bank/count", &[], &u64_, None), fnv("Bank/count()->u64"));
    // The value on the page, so that a second implementation can be checked.
    assert_eq!(fnv("Bank/count()->u64"), COUNT_PRINT);
    let page = include_str!("../../docs/protocol.md");
    assert!(page.contains(&format!("{COUNT_PRINT:#018x}")), "docs/protocol.md shows {COUNT_PRINT:#018x}");
}

/// FNV-1a of 64 bits, written a second time.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(14_695_981_039_346_656_037, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211)
    })
}

const COUNT_PRINT: u64 = 0xd0e0bc79a8fb465c;

#[test]
fn every_part_of_a_signature_counts() {
    let (text, number) = (trace::<String>(), trace::<u64>());
    let prints = [
        print("Bank/open", std::slice::from_ref(&text), &number, None),
        print("Bank/close", std::slice::from_ref(&text), &number, None),
        print("Bank/open", &[], &number, None),
        print("Bank/open", std::slice::from_ref(&number), &number, None),
        print("Bank/open", &[text.clone(), text.clone()], &number, None),
        print("Bank/open", std::slice::from_ref(&text), &text, None),
        print("Bank/open", std::slice::from_ref(&text), &number, Some(&text)),
    ];
    assert_eq!(HashSet::from(prints).len(), prints.len());
}

// ---- shapes on the wire ------------------------------------------------------------------------------------------

fn sent(shape: &Shape) -> Shape {
    let mut bytes = Vec::new();
    body::encode(shape, &mut bytes).expect("a shape is encodable");
    let mut rest = bytes.as_slice();
    let received = body::decode(&mut rest).expect("a shape is decodable");
    body::finish(rest).expect("nothing is left over");
    received
}

#[test]
fn shapes_travel() {
    for shape in [
        trace::<Receipt>(),
        trace::<Event>(),
        trace::<Expr>(),
        trace::<HashMap<u8, [Node; 3]>>(),
        trace::<Untagged>(),
    ] {
        assert_eq!(sent(&shape), shape);
    }
}

#[test]
fn a_shape_as_deep_as_bodies_go_travels() {
    let deep = (0..64).fold(trace::<u8>(), |inner, _| Shape::Option(Box::new(inner)));
    assert_eq!(sent(&deep), deep);
}

#[test]
fn hostile_shapes_are_refused() {
    let decoded = |bytes: &[u8]| body::decode::<Shape>(&mut { bytes }).map_err(|error| error.to_string());
    assert_eq!(decoded(&[0]), Err("a shape ends before its parts".into()));
    assert_eq!(decoded(&[1, 1]), Err("a shape ends before its parts".into()), "an Option of nothing");
    assert_eq!(decoded(&[2, 0, 0, 0, 0]), Err("1 tokens stand behind a shape".into()));
    // A tuple of 2^32 - 1 elements, and 100,000 Options within each other.
    assert_eq!(decoded(&[1, 5, 252, 255, 255, 255, 255]), Err("a shape ends before its parts".into()));
    let mut deep = vec![252, 160, 134, 1, 0];
    deep.extend([1; 100_000]);
    assert_eq!(decoded(&deep), Err("a shape has more than 64 containers within each other".into()));
}
