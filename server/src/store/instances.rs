//! The instances that run on this database, each under a lease. Each statement judges leases by the database's own
//! clock, so that a host with a wrong clock misleads no other.

use super::{
    Sql, StoreError,
    entity::{
        instance::{self, Column, Entity},
        spoken_since,
    },
    transaction::{execute, now, now_us, reading, transact},
};
use chrono::{DateTime, Utc};
use roost_schema::InstanceId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, ExprTrait,
    QueryFilter, QueryOrder,
};
use std::time::Duration;

/// How long an instance counts as running after it last renewed its lease.
pub const LEASE: Duration = Duration::from_secs(10);
/// How long the row of an instance that crashed is kept for operators to look at.
const EXPIRED_KEPT: Duration = Duration::from_hours(1);
/// The lock under which instances are admitted, among a `PostgreSQL` server's advisory locks ("inst" in ASCII).
const ADMISSION_LOCK: i64 = 0x69_6e_73_74;

/// An instance that wants to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInstance {
    pub id: InstanceId,
    pub name: String,
    pub version: String,
    /// The instance reaches others over Redis.
    pub has_redis: bool,
    /// Which formats between instances this one understands.
    pub speaks: u32,
}

/// A registered instance whose lease runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptInstance {
    pub id: InstanceId,
    pub name: String,
    pub version: String,
    pub has_redis: bool,
    pub speaks: u32,
    pub started_at: DateTime<Utc>,
    pub lease_until: DateTime<Utc>,
}

/// The registry in the relational database.
#[derive(Clone, Debug)]
pub struct Instances {
    sql: Sql,
}

impl Instances {
    pub const fn new(sql: Sql) -> Self {
        Self { sql }
    }

    /// Registers an instance, unless running instances and this one cannot reach each other: then answers those and
    /// registers nothing. Two instances that register at the same time take turns.
    ///
    /// On `SQLite` every other registered instance has crashed, because the lock on the file admits one process.
    pub async fn admit(&self, new: &NewInstance) -> Result<Vec<KeptInstance>, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            if self.sql.backend() == DbBackend::Sqlite {
                Entity::delete_many().exec(transaction).await?;
            } else {
                // Raw SQL: the query calls a `PostgreSQL` function and reads no table.
                let lock = "SELECT pg_advisory_xact_lock($1)";
                execute(transaction, lock, [ADMISSION_LOCK.into()]).await?;
            }
            let mut others = living(transaction, new.id).await?;
            others.retain(|other| !(other.has_redis && new.has_redis));
            if others.is_empty() {
                insert(transaction, new).await?;
            }
            Ok(others)
        })
        .await
    }

    /// Renews a lease that still runs. False when the lease has run out, or the instance is not registered.
    pub async fn renew(&self, id: InstanceId) -> Result<bool, StoreError> {
        let now = now(&self.sql.write);
        let renewed = Entity::update_many()
            .col_expr(Column::LeaseUs, now.clone().add(micros(LEASE)))
            .filter(Column::Id.eq(id.as_uuid()))
            .filter(Column::LeaseUs.into_expr().gt(now))
            .exec(&self.sql.write)
            .await?;
        Ok(renewed.rows_affected > 0)
    }

    /// The other instances whose lease runs.
    pub async fn others(&self, than: InstanceId) -> Result<Vec<KeptInstance>, StoreError> {
        reading(|| living(&self.sql.read, than)).await
    }

    /// Notes that an instance is registered now that speaks no more than `least`.
    pub async fn note_lower(&self, least: u32) -> Result<(), StoreError> {
        let number = spoken_since::Column::Number;
        spoken_since::Entity::update_many()
            .col_expr(spoken_since::Column::SinceUs, now(&self.sql.write))
            .filter(number.gt(i32::try_from(least).unwrap_or(i32::MAX)))
            .exec(&self.sql.write)
            .await?;
        Ok(())
    }

    /// Removes an instance that stops in order, so that no successor waits for its lease to run out.
    pub async fn remove(&self, id: InstanceId) -> Result<(), StoreError> {
        Entity::delete_by_id(id.as_uuid())
            .exec(&self.sql.write)
            .await?;
        Ok(())
    }

    /// Deletes the rows of instances whose lease ran out long ago.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let before = now(&self.sql.write).sub(micros(EXPIRED_KEPT));
        Entity::delete_many()
            .filter(Column::LeaseUs.into_expr().lt(before))
            .exec(&self.sql.write)
            .await?;
        Ok(())
    }
}

async fn insert(transaction: &DatabaseTransaction, new: &NewInstance) -> Result<(), StoreError> {
    let now = now_us(transaction);
    // Raw SQL: an entity inserts values, and these times are expressions. An instance whose lease ran out registers
    // again with the values it had.
    let sql = format!(
        "INSERT INTO instances (id, name, version, has_redis, started_us, lease_us, speaks)
         VALUES ($1, $2, $3, $4, {now}, {now} + $5, $6)
         ON CONFLICT (id) DO UPDATE SET lease_us = excluded.lease_us"
    );
    let values = [
        new.id.as_uuid().into(),
        new.name.as_str().into(),
        new.version.as_str().into(),
        new.has_redis.into(),
        micros(LEASE).into(),
        i32::try_from(new.speaks).unwrap_or(i32::MAX).into(),
    ];
    execute(transaction, &sql, values).await?;
    note_numbers(transaction, new.speaks).await
}

/// Makes the rows of the numbers that an instance speaks, unless they are there.
async fn note_numbers(transaction: &DatabaseTransaction, speaks: u32) -> Result<(), StoreError> {
    let now = now_us(transaction);
    let rows: Vec<String> = (1..=speaks).map(|it| format!("({it}, {now})")).collect();
    if rows.is_empty() {
        return Ok(());
    }
    // Raw SQL: an entity inserts values, and this time is an expression.
    let sql = format!(
        "INSERT INTO spoken_since (number, since_us) VALUES {} ON CONFLICT DO NOTHING",
        rows.join(", ")
    );
    execute(transaction, &sql, []).await?;
    Ok(())
}

/// Since when every registered instance speaks at least this number. `None`: no instance that speaks it was registered.
pub(super) async fn spoken_since(
    connection: &impl ConnectionTrait,
    number: i32,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let row = spoken_since::Entity::find_by_id(number);
    let row = row.one(connection).await?;
    Ok(row.map(|spoken_since::Model { since_us, .. }| since_us.0))
}

async fn living(
    connection: &impl ConnectionTrait,
    but: InstanceId,
) -> Result<Vec<KeptInstance>, DbErr> {
    let rows = Entity::find()
        .filter(Column::Id.ne(but.as_uuid()))
        .filter(Column::LeaseUs.into_expr().gt(now(connection)))
        .order_by_asc(Column::Id)
        .all(connection)
        .await?;
    Ok(rows.into_iter().map(KeptInstance::from).collect())
}

impl From<instance::Model> for KeptInstance {
    fn from(row: instance::Model) -> Self {
        Self {
            id: InstanceId::from_uuid(row.id),
            name: row.name,
            version: row.version,
            has_redis: row.has_redis,
            speaks: u32::try_from(row.speaks).unwrap_or(0),
            started_at: row.started_us.0,
            lease_until: row.lease_us.0,
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
