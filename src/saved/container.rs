//! The container: named arrays and a header, with a checksum over both.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::SafeTensors;

use crate::{Error, Result};

/// Key of the header in the file.
const KEY: &str = "scvae";

/// An array as it lies in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Little endian.
    pub(super) bytes: Vec<u8>,
}

/// A header and arrays by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Container {
    /// JSON.
    pub(super) header: String,
    pub(super) arrays: BTreeMap<String, Array>,
}

impl Container {
    /// The file's bytes; the same for the same content.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let views = self.arrays.iter().map(|(name, array)| {
            let view = TensorView::new(array.dtype, array.shape.clone(), &array.bytes);
            Ok((name.as_str(), view.map_err(unwritable)?))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let header = format!("{:08x} {}", self.checksum(), self.header);
        let meta = HashMap::from([(KEY.to_string(), header)]);
        safetensors::serialize(views, Some(meta)).map_err(unwritable)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// [`Error::Model`] when they are damaged or of another kind.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, meta) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let header = meta.metadata().as_ref().and_then(|m| m.get(KEY));
        let header = header.ok_or_else(|| {
            Error::Model("this is no saved scVAE model: its header is missing".into())
        })?;
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let arrays = file.iter().map(|(name, view)| {
            let array = Array {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            };
            (name.to_string(), array)
        });
        // The first versions wrote no checksum.
        let (checksum, header) = match header.split_once(' ') {
            Some((checksum, rest)) if !header.starts_with('{') => (Some(checksum), rest),
            _ => (None, header.as_str()),
        };
        let container = Container {
            header: header.to_string(),
            arrays: arrays.collect(),
        };
        if checksum.is_some_and(|sum| sum != format!("{:08x}", container.checksum())) {
            return Err(damaged("its checksum is another"));
        }
        Ok(container)
    }

    fn checksum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(self.header.as_bytes());
        for (name, array) in &self.arrays {
            sum.update(name.as_bytes());
            sum.update(format!("{:?}{:?}", array.dtype, array.shape).as_bytes());
            sum.update(&array.bytes);
        }
        sum.finalize()
    }

    /// The array of a name.
    pub(super) fn array(&self, name: &str) -> Result<&Array> {
        let array = self.arrays.get(name);
        array.ok_or_else(|| damaged(format_args!("it lacks {name}")))
    }

    /// Adds an array of numbers.
    pub(super) fn put<T: Number>(&mut self, name: String, shape: &[usize], values: &[T]) {
        let bytes = values.iter().flat_map(|&v| v.to_bytes()).collect();
        let array = Array {
            dtype: T::DTYPE,
            shape: shape.to_vec(),
            bytes,
        };
        self.arrays.insert(name, array);
    }
}

impl Array {
    /// Its numbers, which must be of this kind.
    pub(super) fn numbers<T: Number>(&self) -> Result<Vec<T>> {
        if self.dtype != T::DTYPE {
            return Err(damaged("an array holds other numbers than it should"));
        }
        let chunks = self.bytes.chunks_exact(T::WIDTH);
        Ok(chunks.map(T::from_bytes).collect())
    }
}

/// A kind of number that arrays hold.
pub(super) trait Number: Copy {
    const DTYPE: Dtype;
    const WIDTH: usize;
    fn to_bytes(self) -> Vec<u8>;
    /// From as many bytes as it is wide.
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($kind:ty, $dtype:ident) => {
        impl Number for $kind {
            const DTYPE: Dtype = Dtype::$dtype;
            const WIDTH: usize = std::mem::size_of::<$kind>();

            fn to_bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Self {
                let mut own = [0; std::mem::size_of::<$kind>()];
                own.copy_from_slice(bytes);
                <$kind>::from_le_bytes(own)
            }
        }
    };
}

number!(f32, F32);
number!(f64, F64);
number!(u32, U32);
number!(u16, U16);
number!(u8, U8);

pub(super) fn damaged(e: impl Display) -> Error {
    Error::Model(format!(
        "the saved model is damaged or not one of scVAE's: {e}"
    ))
}

pub(super) fn unwritable(e: impl Display) -> Error {
    Error::Model(format!("the model cannot be written: {e}"))
}
