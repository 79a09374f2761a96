//! Transactions and their parts.

use holdfast_proto::{Key, LeaseId, Value, ValueKind, limits, v1};

use crate::{
    command::{CommandError, most, parse_key},
    keyring::row::parse_seal,
    operation::{
        Compare, DeleteOperation, LeaseChoice, Operation, PutOperation, RangeOperation, Relation,
        Target, Transaction,
    },
};

impl TryFrom<v1::Transaction> for Transaction {
    type Error = CommandError;

    fn try_from(wire: v1::Transaction) -> Result<Self, CommandError> {
        let parsed = parse_transaction(wire, limits::TRANSACTION_DEPTH)?;
        let steps = parsed.operations().max(parsed.compares());
        most(
            "the transaction",
            "operations a transaction",
            steps,
            limits::TRANSACTION_OPERATIONS,
        )?;
        Ok(parsed)
    }
}

/// `depth` levels are left; counting down on the way in keeps the recursion shallow.
fn parse_transaction(wire: v1::Transaction, depth: usize) -> Result<Transaction, CommandError> {
    if depth == 0 {
        return Err(CommandError::TooLarge {
            what: "the transaction's nesting",
            limit: "transaction depth",
            found: limits::TRANSACTION_DEPTH + 1,
            most: limits::TRANSACTION_DEPTH,
        });
    }
    let steps = |steps: Vec<v1::Operation>| {
        steps
            .into_iter()
            .map(|step| parse_operation(step, depth))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Transaction {
        compare: wire
            .compare
            .into_iter()
            .map(Compare::try_from)
            .collect::<Result<_, _>>()?,
        then: steps(wire.then)?,
        otherwise: steps(wire.otherwise)?,
    })
}

fn parse_operation(wire: v1::Operation, depth: usize) -> Result<Operation, CommandError> {
    use v1::operation::Operation as Wire;
    Ok(
        match wire.operation.ok_or(CommandError::Missing(
            "an operation of the transaction is empty",
        ))? {
            Wire::Range(range) => Operation::Range(RangeOperation {
                range: parse_range(range.range)?,
                limit: range.limit,
                keys_only: range.keys_only,
                count_only: range.count_only,
                revision: range.revision,
            }),
            Wire::Put(put) => Operation::Put(put.try_into()?),
            Wire::Delete(delete) => Operation::Delete(delete.try_into()?),
            Wire::Transaction(inner) => {
                Operation::Transaction(parse_transaction(inner, depth - 1)?)
            }
        },
    )
}

fn parse_range(wire: Option<v1::KeyRange>) -> Result<holdfast_proto::KeyRange, CommandError> {
    Ok(wire
        .ok_or(CommandError::Missing("the range is not set"))?
        .into())
}

fn parse_value(wire: v1::Value) -> Result<Value, CommandError> {
    let value = Value::try_from(wire)?;
    most(
        "the value",
        "value bytes",
        value.size(),
        match value {
            Value::Sealed(_) => limits::SEALED_BYTES,
            _ => limits::VALUE_BYTES,
        },
    )?;
    Ok(value)
}

impl TryFrom<v1::PutOperation> for PutOperation {
    type Error = CommandError;

    fn try_from(wire: v1::PutOperation) -> Result<Self, CommandError> {
        let value = match (wire.value, wire.keep_value) {
            (None, true) => None,
            (Some(_), true) => {
                return Err(CommandError::Invalid(
                    "a put that keeps the value must bring none",
                ));
            }
            (Some(value), false) => Some(parse_value(value)?),
            (None, false) => return Err(CommandError::Missing("the put has no value")),
        };
        let lease = match (LeaseId::new(wire.lease), wire.keep_lease) {
            (None, false) => LeaseChoice::Unbound,
            (Some(lease), false) => LeaseChoice::Bound(lease),
            (None, true) => LeaseChoice::Keep,
            (Some(_), true) => {
                return Err(CommandError::Invalid(
                    "a put that keeps the lease must name none",
                ));
            }
        };
        let sealed = value
            .as_ref()
            .is_some_and(|value| value.kind() == ValueKind::Sealed);
        if sealed != wire.seal.is_some() {
            return Err(CommandError::Invalid(
                "a sealed value, and no other, comes with its seal; secrets are put with Secrets.Put",
            ));
        }
        Ok(Self {
            key: parse_key(&wire.key)?,
            value,
            seal: wire.seal.as_ref().map(parse_seal).transpose()?,
            replaces_secret: wire.replace_secret,
            lease,
            previous: wire.previous,
        })
    }
}

impl TryFrom<v1::DeleteOperation> for DeleteOperation {
    type Error = CommandError;

    fn try_from(wire: v1::DeleteOperation) -> Result<Self, CommandError> {
        Ok(Self {
            range: parse_range(wire.range)?,
            previous: wire.previous,
        })
    }
}

impl TryFrom<v1::Compare> for Compare {
    type Error = CommandError;

    fn try_from(wire: v1::Compare) -> Result<Self, CommandError> {
        use v1::compare::{Relation as WireRelation, Target as WireTarget};
        let relation = match WireRelation::try_from(wire.relation) {
            Ok(WireRelation::Equal) => Relation::Equal,
            Ok(WireRelation::NotEqual) => Relation::NotEqual,
            Ok(WireRelation::Greater) => Relation::Greater,
            Ok(WireRelation::Less) => Relation::Less,
            Err(_) => {
                return Err(CommandError::Missing(
                    "the compare's relation is not known here",
                ));
            }
        };
        let target = match wire
            .target
            .ok_or(CommandError::Missing("the compare has no target"))?
        {
            WireTarget::Version(number) => Target::Version(number),
            WireTarget::Created(number) => Target::Created(number),
            WireTarget::Modified(number) => Target::Modified(number),
            WireTarget::Lease(number) => Target::Lease(number),
            WireTarget::Value(value) => Target::Value(parse_value(value)?),
            WireTarget::Canonical(value) => Target::Canonical(parse_value(value)?),
        };
        Ok(Self {
            range: parse_range(wire.range)?,
            relation,
            target,
        })
    }
}

impl From<Transaction> for v1::Transaction {
    fn from(transaction: Transaction) -> Self {
        let steps = |steps: Vec<Operation>| steps.into_iter().map(v1::Operation::from).collect();
        Self {
            compare: transaction
                .compare
                .into_iter()
                .map(v1::Compare::from)
                .collect(),
            then: steps(transaction.then),
            otherwise: steps(transaction.otherwise),
        }
    }
}

impl From<Operation> for v1::Operation {
    fn from(operation: Operation) -> Self {
        use v1::operation::Operation as Wire;
        Self {
            operation: Some(match operation {
                Operation::Range(range) => Wire::Range(v1::RangeOperation {
                    range: Some(range.range.into()),
                    limit: range.limit,
                    keys_only: range.keys_only,
                    count_only: range.count_only,
                    revision: range.revision,
                }),
                Operation::Put(put) => Wire::Put(put.into()),
                Operation::Delete(delete) => Wire::Delete(delete.into()),
                Operation::Transaction(inner) => Wire::Transaction(inner.into()),
            }),
        }
    }
}

impl From<PutOperation> for v1::PutOperation {
    fn from(put: PutOperation) -> Self {
        Self {
            key: Key::to_bytes(&put.key),
            keep_value: put.value.is_none(),
            value: put.value.map(v1::Value::from),
            lease: match put.lease {
                LeaseChoice::Bound(lease) => lease.get(),
                LeaseChoice::Unbound | LeaseChoice::Keep => 0,
            },
            keep_lease: put.lease == LeaseChoice::Keep,
            previous: put.previous,
            replace_secret: put.replaces_secret,
            seal: put.seal.map(|seal| v1::Seal {
                version: seal.version,
                epoch: seal.epoch,
                wrap: seal.wrap,
            }),
        }
    }
}

impl From<DeleteOperation> for v1::DeleteOperation {
    fn from(delete: DeleteOperation) -> Self {
        Self {
            range: Some(delete.range.into()),
            previous: delete.previous,
        }
    }
}

impl From<Compare> for v1::Compare {
    fn from(compare: Compare) -> Self {
        use v1::compare::{Relation as WireRelation, Target as WireTarget};
        let relation = match compare.relation {
            Relation::Equal => WireRelation::Equal,
            Relation::NotEqual => WireRelation::NotEqual,
            Relation::Greater => WireRelation::Greater,
            Relation::Less => WireRelation::Less,
        };
        Self {
            range: Some(compare.range.into()),
            relation: relation.into(),
            target: Some(match compare.target {
                Target::Version(number) => WireTarget::Version(number),
                Target::Created(number) => WireTarget::Created(number),
                Target::Modified(number) => WireTarget::Modified(number),
                Target::Lease(number) => WireTarget::Lease(number),
                Target::Value(value) => WireTarget::Value(value.into()),
                Target::Canonical(value) => WireTarget::Canonical(value.into()),
            }),
        }
    }
}
