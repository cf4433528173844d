//! A key of refresh tokens as the tables keep it: 32 random bytes.

use sea_orm::{
    ColIdx, DbErr, QueryResult, TryGetError, TryGetable, Value,
    sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr},
};
use std::fmt;

/// A secret key, which `Debug` never prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct TokenKey(pub(in crate::store) [u8; 32]);

impl TokenKey {
    pub(in crate::store) fn generate() -> Self {
        Self(rand::random())
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<TokenKey> for Value {
    fn from(TokenKey(bytes): TokenKey) -> Self {
        bytes.to_vec().into()
    }
}

impl TryGetable for TokenKey {
    fn try_get_by<I: ColIdx>(row: &QueryResult, column: I) -> Result<Self, TryGetError> {
        let kept = Vec::<u8>::try_get_by(row, column)?;
        let wrong = |kept: Vec<u8>| DbErr::Type(format!("a key of {} bytes", kept.len()));
        Ok(Self(kept.try_into().map_err(wrong)?))
    }
}

impl ValueType for TokenKey {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        let kept = <Vec<u8> as ValueType>::try_from(value)?;
        Ok(Self(kept.try_into().map_err(|_| ValueTypeErr)?))
    }

    fn type_name() -> String {
        "TokenKey".to_owned()
    }

    fn array_type() -> ArrayType {
        ArrayType::Bytes
    }

    fn column_type() -> ColumnType {
        ColumnType::Blob
    }
}

impl Nullable for TokenKey {
    fn null() -> Value {
        Value::Bytes(None)
    }
}
