//! The arguments of a call by description: checked against it before anything is sent.

use std::sync::Arc;

use thiserror::Error;

use super::{MethodDescription, Value};
use crate::objects::encoded::Payload;
use crate::wire::shape::{Misfit, Shape};

/// What a call by description gives its method: values in the order of the parameters, as a tuple such as `("ada", 100)` or a vector of
/// [`Value`]s; or by their names, as an array such as `[("cents", 100)]`.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Given {
    /// As many as the method takes; those at the end that have defaults may be left out.
    InOrder(Vec<Value>),
    /// In any order. Those at the end that have defaults may be left out, and those that are options.
    ByName(Vec<(Arc<str>, Value)>),
}

impl From<Vec<Value>> for Given {
    fn from(values: Vec<Value>) -> Self {
        Given::InOrder(values)
    }
}

impl<V: Into<Value>, const N: usize> From<[(&str, V); N]> for Given {
    fn from(values: [(&str, V); N]) -> Self {
        Given::ByName(values.map(|(name, value)| (name.into(), value.into())).into())
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name: Into<Value>),*> From<($($name,)*)> for Given {
            #[allow(unused_variables, clippy::unused_unit, reason = "the empty tuple uses none")]
            fn from(values: ($($name,)*)) -> Self {
                Given::InOrder(vec![$(values.$index.into()),*])
            }
        }
    )*};
}

all_tuples!(tuples);

/// Why arguments are not those of a method. Nothing was sent.
#[derive(Clone, PartialEq, Debug, Error)]
#[non_exhaustive]
pub enum ArgumentError {
    /// There are too few of them, or too many.
    #[error("{method} takes {takes}, {given} were given; it is {signature}")]
    Count {
        /// `Interface/method`.
        method: String,
        /// How many, in words.
        takes: String,
        /// How many there are.
        given: usize,
        /// The method's.
        signature: String,
    },
    /// One is not what the method takes in its place.
    #[error("argument {position} of {method}, `{name}`: {misfit}")]
    Misfit {
        /// `Interface/method`.
        method: String,
        /// Its place; 1 is the first.
        position: usize,
        /// The parameter's name.
        name: String,
        /// What was expected, and what is there.
        misfit: Box<Misfit>,
    },
    /// No parameter has that name.
    #[error("{method} has no argument `{name}`; it is {signature}")]
    Unknown {
        /// `Interface/method`.
        method: String,
        /// The name that was given.
        name: String,
        /// The method's.
        signature: String,
    },
    /// One has two values.
    #[error("the argument `{name}` of {method} is given twice")]
    Twice {
        /// `Interface/method`.
        method: String,
        /// The parameter's name.
        name: String,
    },
    /// One is not there that has no default, or that others stand behind.
    #[error("argument {position} of {method}, `{name}`, is missing: expected {expected}")]
    Missing {
        /// `Interface/method`.
        method: String,
        /// Its place; 1 is the first.
        position: usize,
        /// The parameter's name.
        name: String,
        /// Its shape.
        expected: String,
    },
}

impl MethodDescription {
    /// Whether the method takes these arguments. [`Remote::invoke`](crate::Remote::invoke) looks by itself.
    ///
    /// # Errors
    /// [`ArgumentError`] names the argument by place and name, and what was expected there.
    pub fn check_arguments(&self, given: impl Into<Given>) -> Result<(), ArgumentError> {
        self.encode(&given.into()).map(drop)
    }

    /// The body, and how many arguments it has.
    pub(super) fn encode(&self, given: &Given) -> Result<(Payload, usize), ArgumentError> {
        let values = match given {
            Given::InOrder(values) => self.in_order(values)?,
            Given::ByName(values) => self.by_name(values)?,
        };
        let count = values.len();
        let parts = self.arguments.iter().zip(&values);
        let parts = parts.map(|(argument, value)| (&argument.shape, *value));
        let payload = Payload::write_all(parts).map_err(|(at, misfit)| ArgumentError::Misfit {
            method: self.name.clone(),
            position: at + 1,
            name: self.arguments.get(at).map(|argument| argument.name.clone()).unwrap_or_default(),
            misfit: Box::new(misfit),
        })?;
        Ok((payload, count))
    }

    fn in_order<'v>(&self, values: &'v [Value]) -> Result<Vec<&'v Value>, ArgumentError> {
        let (fixed, all) = (self.fixed(), self.arguments.len());
        if (fixed..=all).contains(&values.len()) {
            return Ok(values.iter().collect());
        }
        let takes = match (fixed, all) {
            (0, 0) => "no arguments".into(),
            (1, 1) => "one argument".into(),
            _ if fixed == all => format!("{all} arguments"),
            _ => format!("{fixed} to {all} arguments"),
        };
        let (method, signature) = (self.name.clone(), self.signature());
        Err(ArgumentError::Count { method, takes, given: values.len(), signature })
    }

    fn by_name<'v>(&self, values: &'v [(Arc<str>, Value)]) -> Result<Vec<&'v Value>, ArgumentError> {
        let method = || self.name.clone();
        for (at, (name, _)) in values.iter().enumerate() {
            if self.arguments.iter().all(|argument| *argument.name != **name) {
                let signature = self.signature();
                return Err(ArgumentError::Unknown { method: method(), name: name.to_string(), signature });
            }
            if values[..at].iter().any(|(known, _)| known == name) {
                return Err(ArgumentError::Twice { method: method(), name: name.to_string() });
            }
        }
        let one = |at: usize| values.iter().find(|(name, _)| *self.arguments[at].name == **name);
        // Up to the last one that is given, or may not be missing.
        let last = (0..self.arguments.len()).rev().find(|at| *at < self.fixed() || one(*at).is_some());
        let count = last.map_or(0, |last| last + 1);
        let place = |at: usize| match (one(at), &self.arguments[at].shape) {
            (Some((_, value)), _) => Ok(value),
            (None, Shape::Option(_)) => Ok(&NONE),
            (None, shape) => Err(ArgumentError::Missing {
                method: method(),
                position: at + 1,
                name: self.arguments[at].name.clone(),
                expected: super::value::expected(shape),
            }),
        };
        (0..count).map(place).collect()
    }
}

static NONE: Value = Value::Option(None);
