//! Large buffers in bodies, which need not be copied: one that stands last in a body that is encoded, and those of a body that is decoded.
//!
//! That is for values that are [`Bytes`] themselves, whole arguments and answers; `Vec<u8>` is copied once, and not element by element. The bytes of a body are the
//! same either way: those of a sequence, and those of bytes, are their length and themselves.

use std::any::Any;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{BodyError, decode, decode_by, encode};
use crate::message::Body;

/// A body that is being encoded: bytes that are appended, and perhaps a large buffer behind them.
pub struct Draft {
    bytes: Vec<u8>,
    end: Option<Bytes>,
}

impl Draft {
    /// An empty one, which appends to `buffer`, empty too.
    #[inline]
    pub fn over(buffer: Vec<u8>) -> Self {
        Draft { bytes: buffer, end: None }
    }

    /// The buffer, to be used again.
    #[inline]
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.body().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where bytes are appended, behind all that there is.
    #[inline]
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        if self.end.is_some() {
            self.settle();
        }
        &mut self.bytes
    }

    /// Something comes behind the large buffer, or must see it: so it is copied after all.
    #[cold]
    fn settle(&mut self) {
        if let Some(end) = self.end.take() {
            self.bytes.extend_from_slice(&end);
        }
    }

    /// Appends a value.
    ///
    /// # Errors
    /// As [`encode`]; the draft is as it was before, but that a large buffer may have been copied.
    #[inline]
    pub fn write<T: Serialize + 'static>(&mut self, value: &T) -> Result<(), BodyError> {
        let any = value as &dyn Any;
        if let Some(bytes) = any.downcast_ref::<Bytes>() {
            return self.write_bytes(bytes, |draft| draft.end = Some(bytes.clone()));
        }
        if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
            return self.write_bytes(bytes, |draft| draft.bytes.extend_from_slice(bytes));
        }
        encode(value, self.bytes())
    }

    /// Appends the length of `bytes`, and then themselves, by `large` where that is worth it.
    fn write_bytes(&mut self, bytes: &[u8], large: impl FnOnce(&mut Self)) -> Result<(), BodyError> {
        encode(&bytes.len(), self.bytes())?;
        match bytes.len() {
            Body::LARGE_BYTES.. => large(self),
            _ => self.bytes.extend_from_slice(bytes),
        }
        Ok(())
    }

    /// All that was written.
    #[inline]
    pub fn body(&self) -> Body<'_> {
        match &self.end {
            None => Body::lent(&self.bytes),
            Some(end) => Body::ended(&self.bytes, end),
        }
    }

    /// What was appended, where it is large, as a buffer that can be kept. It stands in the draft no more.
    pub fn take_large(&mut self) -> Option<Bytes> {
        let large = self.end.is_none() && self.bytes.len() >= Body::LARGE_BYTES;
        large.then(|| std::mem::take(&mut self.bytes).into_boxed_slice().into())
    }

    /// All that was written, as a buffer that can be kept.
    pub fn to_bytes(&mut self) -> Bytes {
        self.take_large().unwrap_or_else(|| self.body().to_bytes())
    }
}

/// A body that is being decoded, from its front on.
pub struct Received<'a> {
    rest: &'a [u8],
    whole: &'a Bytes,
}

impl<'a> Received<'a> {
    /// All of `body`.
    #[inline]
    pub fn new(body: &'a Bytes) -> Self {
        Received { rest: body, whole: body }
    }

    /// What is not decoded yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes all that is not decoded yet.
    pub fn take_rest(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.rest);
        self.own(rest)
    }

    /// Takes a value. [`Bytes`] that are most of a large body are a part of it.
    ///
    /// # Errors
    /// As [`decode`].
    #[inline]
    pub fn read<T: DeserializeOwned + 'static>(&mut self) -> Result<T, BodyError> {
        let mut value: Option<T> = None;
        let any = &mut value as &mut dyn Any;
        if let Some(bytes) = any.downcast_mut::<Option<Bytes>>() {
            let part = self.slice()?;
            *bytes = Some(self.own(part));
        } else if let Some(bytes) = any.downcast_mut::<Option<Vec<u8>>>() {
            *bytes = Some(self.slice()?.to_vec());
        } else {
            return decode(&mut self.rest);
        }
        Ok(value.expect("it has just been set"))
    }

    fn slice(&mut self) -> Result<&'a [u8], BodyError> {
        decode_by(PhantomData::<&[u8]>, &mut self.rest)
    }

    /// A part of the body as a buffer: the body itself, where the part is large and the body has a buffer of its own. Whoever keeps it keeps that, so what
    /// is small beside it is copied.
    fn own(&self, part: &[u8]) -> Bytes {
        if self.whole.len() >= Body::OWN_BUFFER_BYTES && part.len() >= self.whole.len() / 2 {
            self.whole.slice_ref(part)
        } else {
            Bytes::copy_from_slice(part)
        }
    }
}

#[cfg(test)]
mod tests;
