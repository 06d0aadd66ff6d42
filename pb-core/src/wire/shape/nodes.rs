//! What the tracer knows so far: a tree of nodes that grows with every pass, and the shape that it becomes.

use super::samples::MOST_TURNS;
use super::{Content, Field, Opaque, Plain, Shape, Variant, Why};

/// A node's place in [`Nodes`].
pub(super) type At = usize;

/// One place in a type.
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The Rust type that was to be made here; empty until someone came by.
    pub(super) type_name: &'static str,
    /// How often what was made here was refused. All samples below move on with it.
    pub(super) turns: u32,
    /// Whether nothing is left to find out here and below.
    known: bool,
}

/// What a place was found to be.
pub(super) enum Kind {
    Unasked,
    Plain(Plain),
    Option(At),
    Seq(At),
    Map(At, At),
    Tuple(Vec<At>),
    Newtype(&'static str, At),
    Struct(&'static str, Fields),
    Enum(&'static str, Choices),
    Reference(&'static str),
    /// As many containers further out, which is there.
    Again(u32, At),
    Opaque(Why),
}

/// The fields of a struct, or of a variant.
#[derive(Clone)]
pub(super) struct Fields {
    /// Aliases among them.
    pub(super) names: &'static [&'static str],
    pub(super) nodes: Vec<At>,
    /// Which names are another name of the field beside them.
    pub(super) aliases: Vec<bool>,
    /// Given by place and not by name, since the type wants it so.
    pub(super) in_order: bool,
    /// Fields that must be named before their aliases, so that one learns which those are.
    pub(super) first: Vec<bool>,
    /// How often each was given; of those not known the least given goes first.
    pub(super) visits: Vec<u32>,
    /// Whether all were taken once, so that no more aliases can turn up.
    pub(super) settled: bool,
}

/// The variants of an enum.
pub(super) struct Choices {
    pub(super) names: &'static [&'static str],
    pub(super) variants: Vec<Choice>,
}

/// One variant.
pub(super) struct Choice {
    pub(super) content: Part,
    /// How often it was taken to look into; the least visited goes first.
    pub(super) visits: u32,
    pub(super) built: bool,
}

/// A variant's content.
#[derive(Clone)]
pub(super) enum Part {
    Unasked,
    Unit,
    Newtype(At),
    Tuple(Vec<At>),
    Struct(Fields),
}

/// All nodes of one type; the root is the first. Bounded, and what would pass the bound becomes opaque.
pub(super) struct Nodes(Vec<Node>);

pub(super) const ROOT: At = 0;

impl Nodes {
    pub(super) fn new() -> Self {
        let mut nodes = Nodes(Vec::new());
        nodes.add();
        nodes
    }

    pub(super) fn add(&mut self) -> At {
        let kind = if self.0.len() < MOST_NODES { Kind::Unasked } else { Kind::Opaque(Why::TooLarge) };
        self.0.push(Node { kind, type_name: "", turns: 0, known: false });
        self.0.len() - 1
    }

    /// None where so many would pass the bound.
    pub(super) fn add_all(&mut self, count: usize) -> Option<Vec<At>> {
        let fits = self.0.len().saturating_add(count) <= MOST_NODES;
        fits.then(|| (0..count).map(|_| self.add()).collect())
    }

    pub(super) fn add_fields(&mut self, names: &'static [&'static str]) -> Option<Fields> {
        let nodes = self.add_all(names.len())?;
        let (aliases, first) = (vec![false; names.len()], vec![false; names.len()]);
        let visits = vec![0; names.len()];
        Some(Fields { names, nodes, aliases, in_order: false, first, visits, settled: false })
    }

    pub(super) fn at(&self, at: At) -> &Node {
        &self.0[at]
    }

    pub(super) fn at_mut(&mut self, at: At) -> &mut Node {
        &mut self.0[at]
    }

    /// Moves the samples at and below a place on. False when all were tried.
    pub(super) fn turn(&mut self, at: At) -> bool {
        let node = self.at_mut(at);
        let left = node.turns < MOST_TURNS;
        node.turns += u32::from(left);
        left
    }

    /// Whether nothing is left to find out at and below a place.
    pub(super) fn known(&mut self, at: At) -> bool {
        if !self.at(at).known {
            let known = self.look(at);
            self.at_mut(at).known = known;
        }
        self.at(at).known
    }

    fn look(&mut self, at: At) -> bool {
        let below = match &self.at(at).kind {
            Kind::Unasked => return false,
            Kind::Plain(_) | Kind::Reference(_) | Kind::Again(..) | Kind::Opaque(_) => return true,
            Kind::Option(inner) | Kind::Seq(inner) | Kind::Newtype(_, inner) => vec![*inner],
            Kind::Map(key, value) => vec![*key, *value],
            Kind::Tuple(elements) => elements.clone(),
            Kind::Struct(_, fields) if !fields.settled => return false,
            Kind::Struct(_, fields) => fields.looked_at(),
            Kind::Enum(_, choices) => {
                let parts: Vec<Part> = choices.variants.iter().map(|choice| choice.content.clone()).collect();
                return parts.iter().all(|part| self.part_known(part));
            }
        };
        below.into_iter().all(|at| self.known(at))
    }

    pub(super) fn part_known(&mut self, part: &Part) -> bool {
        match part {
            Part::Unasked => false,
            Part::Unit => true,
            Part::Newtype(inner) => self.known(*inner),
            Part::Tuple(elements) => elements.iter().all(|at| self.known(*at)),
            Part::Struct(fields) => fields.settled && fields.looked_at().into_iter().all(|at| self.known(at)),
        }
    }

    pub(super) fn shape(&self, at: At) -> Shape {
        let boxed = |at: &At| Box::new(self.shape(*at));
        match &self.at(at).kind {
            Kind::Unasked => self.opaque(at, Why::Unreached),
            Kind::Plain(plain) => Shape::Plain(*plain),
            Kind::Option(inner) => Shape::Option(boxed(inner)),
            Kind::Seq(element) => Shape::Seq(boxed(element)),
            Kind::Map(key, value) => Shape::Map(boxed(key), boxed(value)),
            Kind::Tuple(elements) => array_or_tuple(self.shapes(elements)),
            Kind::Newtype(name, inner) => Shape::Newtype((*name).into(), boxed(inner)),
            Kind::Struct(name, fields) => Shape::Struct((*name).into(), self.fields(fields)),
            Kind::Enum(name, choices) => Shape::Enum((*name).into(), self.variants(at, choices)),
            Kind::Reference(interface) => Shape::Reference((*interface).into()),
            Kind::Again(up, _) => Shape::Again(*up),
            Kind::Opaque(why) => self.opaque(at, *why),
        }
    }

    fn shapes(&self, nodes: &[At]) -> Vec<Shape> {
        nodes.iter().map(|at| self.shape(*at)).collect()
    }

    fn opaque(&self, at: At, why: Why) -> Shape {
        Shape::Opaque(Opaque { type_name: without_paths(self.at(at).type_name), why })
    }

    fn fields(&self, fields: &Fields) -> Vec<Field> {
        let field = |place: usize| Field {
            name: fields.names[place].to_string(),
            shape: self.shape(fields.nodes[place]),
        };
        fields.real().map(field).collect()
    }

    fn variants(&self, at: At, choices: &Choices) -> Vec<Variant> {
        let all_named = choices.names.len() == choices.variants.len();
        let variant = |(number, choice): (usize, &Choice)| Variant {
            name: if all_named { choices.names[number].into() } else { number.to_string() },
            content: match &choice.content {
                Part::Unasked => Content::Newtype(self.opaque(at, Why::Unreached)),
                Part::Unit => Content::Unit,
                Part::Newtype(inner) => Content::Newtype(self.shape(*inner)),
                Part::Tuple(elements) => Content::Tuple(self.shapes(elements)),
                Part::Struct(fields) => Content::Struct(self.fields(fields)),
            },
        };
        choices.variants.iter().enumerate().map(variant).collect()
    }
}

impl Fields {
    /// The places of names that are not aliases, in the body's order.
    pub(super) fn real(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|place| !self.aliases[*place])
    }

    fn looked_at(&self) -> Vec<At> {
        self.real().map(|place| self.nodes[place]).collect()
    }
}

fn array_or_tuple(mut elements: Vec<Shape>) -> Shape {
    let len = u32::try_from(elements.len()).unwrap_or(u32::MAX);
    let uniform = len >= 2 && elements.windows(2).all(|pair| pair[0] == pair[1]);
    match elements.pop() {
        Some(element) if uniform => Shape::Array(Box::new(element), len),
        Some(last) => {
            elements.push(last);
            Shape::Tuple(elements)
        }
        None => Shape::Tuple(elements),
    }
}

/// `alloc::vec::Vec<bank::Receipt>` as `Vec<Receipt>`: paths change when code moves, and between compilers.
fn without_paths(type_name: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in type_name.chars() {
        if c == ':' {
            word.clear();
        } else if c.is_alphanumeric() || c == '_' {
            word.push(c);
        } else {
            short.push_str(&word);
            short.push(c);
            word.clear();
        }
    }
    short + &word
}

/// More than a readable API has in one argument; bounds what types that multiply, like syntax trees, can cost.
const MOST_NODES: usize = 16_384;
