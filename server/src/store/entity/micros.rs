//! A time as the tables keep it: microseconds since 1970, in a `bigint`.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColIdx, DbErr, QueryResult, TryGetError, TryGetable, Value,
    sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr},
};

/// The value of a column whose name ends with `_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Micros(pub(in crate::store) DateTime<Utc>);

impl From<Micros> for Value {
    fn from(Micros(time): Micros) -> Self {
        time.timestamp_micros().into()
    }
}

impl TryGetable for Micros {
    fn try_get_by<I: ColIdx>(row: &QueryResult, column: I) -> Result<Self, TryGetError> {
        let kept = i64::try_get_by(row, column)?;
        let time = DateTime::from_timestamp_micros(kept);
        time.map(Self)
            .ok_or_else(|| DbErr::Type(format!("time {kept}")).into())
    }
}

impl ValueType for Micros {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        let kept = <i64 as ValueType>::try_from(value)?;
        DateTime::from_timestamp_micros(kept)
            .map(Self)
            .ok_or(ValueTypeErr)
    }

    fn type_name() -> String {
        "Micros".to_owned()
    }

    fn array_type() -> ArrayType {
        ArrayType::BigInt
    }

    fn column_type() -> ColumnType {
        ColumnType::BigInteger
    }
}

impl Nullable for Micros {
    fn null() -> Value {
        Value::BigInt(None)
    }
}
