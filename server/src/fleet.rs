//! The fleet: who runs what. Takes reports in, gathers them, and lists them.
//!
//! A thousand clients that report at the same moment are a few entries of the log: each node
//! [gathers](gather) what its clients send, and has it applied as one command. Reports are outside of
//! the keyspace, so none of this makes a revision or wakes a watch.
//!
//! What is allowed: to report on what one may read, to list what one may list, and to have
//! forgotten what one may delete, or what one said oneself. Whose report it is says the certificate.

mod gather;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use bytes::Bytes;
use holdfast_core::{Report, ReportKey, State};
use holdfast_proto::{
    KeyRange, Timestamp, limits,
    log::v1::{self as log, command::Body, reply},
    v1::{self, fleet_server::Fleet},
};
use tonic::{Request, Response, Status};

use self::gather::{Gathering, Word};
use crate::{
    access::{Denied, Permit},
    caller::Caller,
    deadline,
    host::{Host, Proposal},
    kv,
    status::invalid,
};

/// `holdfast.v1.Fleet` of one node.
pub(crate) struct FleetService {
    host: Arc<Host>,
    gathering: Gathering,
}

impl FleetService {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self {
            gathering: Gathering::begin(host.clone()),
            host,
        }
    }
}

#[tonic::async_trait]
impl Fleet for FleetService {
    async fn report(
        &self,
        request: Request<v1::FleetReportRequest>,
    ) -> Result<Response<v1::FleetReportResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        let reports = request.into_inner().reports;
        if reports.len() > limits::FLEET_REQUEST_REPORTS {
            return Err(invalid(format!(
                "a request has at most {} reports, and this one has {}; send them in parts",
                limits::FLEET_REQUEST_REPORTS,
                reports.len()
            )));
        }
        let reports: Vec<_> = reports.into_iter().map(Report::try_from).collect();
        let permitted = self.may_report(&caller, &reports, deadline).await?;
        let mut refused = Vec::new();
        let mut awaited = Vec::new();
        for (index, (report, permitted)) in (0..).zip(reports.into_iter().zip(permitted)) {
            let why = match (report, permitted) {
                (Err(error), _) => error.to_string(),
                (_, Err(denied)) => Status::from(denied).message().to_owned(),
                (Ok(report), Ok(())) => {
                    let word = Word::new(caller.author().clone(), report);
                    if let Some(taken) = self.gathering.add(word, deadline).await? {
                        awaited.push((index, taken));
                    }
                    continue;
                }
            };
            refused.push(v1::FleetRefused { index, why });
        }
        for (index, taken) in awaited {
            if let Some(why) = taken.wait(deadline).await? {
                refused.push(v1::FleetRefused { index, why });
            }
        }
        refused.sort_by_key(|refused| refused.index);
        Ok(Response::new(v1::FleetReportResponse {
            header: self.host.header_now(),
            refused,
        }))
    }

    async fn list(
        &self,
        request: Request<v1::FleetListRequest>,
    ) -> Result<Response<v1::FleetListResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        let request = request.into_inner();
        self.host.freshen(request.consistency, deadline).await?;
        let range = KeyRange::prefix(request.prefix.clone());
        let check = |_: &State, permit: &Permit| permit.list(&range);
        self.host.permit(&caller, deadline, check).await?;
        let state = self.host.replica.store().view();
        let now = self.now(&state);
        let listed = kv::on_blocking_thread(move || Ok(list(&state, &request.prefix, now)));
        let mut answer = listed.await?;
        answer.header = self.host.header_now();
        Ok(Response::new(answer))
    }

    async fn forget(
        &self,
        request: Request<v1::FleetForgetRequest>,
    ) -> Result<Response<v1::FleetForgetResponse>, Status> {
        let (deadline, caller) = (deadline::of(request.metadata()), Caller::of(&request));
        let request = request.into_inner();
        self.host.barrier(deadline).await?;
        if request.identity != **caller.author() {
            let range = KeyRange::prefix(request.prefix.clone());
            let check = |_: &State, permit: &Permit| permit.delete(&range);
            self.host.permit(&caller, deadline, check).await?;
        }
        let state = self.host.replica.store().view();
        let keys = chosen(&state, &request, self.now(&state));
        let body = Body::FleetForget(log::FleetForget {
            reports: keys.iter().map(key_to_wire).collect(),
        });
        let proposal = Proposal {
            request: request.request,
            author: caller.author().to_string(),
            note: String::new(),
            body,
        };
        let reply = self.host.propose(proposal, deadline).await?.into_wire();
        let forgotten = match reply.body {
            Some(reply::Body::Delete(result)) => result.deleted,
            _ => 0,
        };
        Ok(Response::new(v1::FleetForgetResponse {
            header: self.host.header(reply.revision),
            forgotten,
        }))
    }

    async fn administrators(
        &self,
        request: Request<v1::FleetAdministratorsRequest>,
    ) -> Result<Response<v1::FleetAdministratorsResponse>, Status> {
        self.host.barrier(deadline::of(request.metadata())).await?;
        let administrators = self.host.read(|state| state.access().administrators());
        Ok(Response::new(v1::FleetAdministratorsResponse {
            header: self.host.header_now(),
            identities: administrators.iter().map(ToString::to_string).collect(),
        }))
    }
}

impl FleetService {
    /// Which of the reports the caller may make. What is refused is refused by the newest policy.
    async fn may_report<E>(
        &self,
        caller: &Caller,
        reports: &[Result<Report, E>],
        deadline: Instant,
    ) -> Result<Vec<Result<(), Denied>>, Status> {
        let look = |state: &State| {
            let permit = caller.permit(state);
            let may = |report: &Result<Report, E>| match report {
                Ok(report) => permit.read(&KeyRange::prefix(report.prefix().clone())),
                Err(_) => Ok(()),
            };
            reports.iter().map(may).collect::<Vec<_>>()
        };
        let looked = self.host.read(look);
        if looked.iter().all(Result::is_ok) {
            return Ok(looked);
        }
        self.host.barrier(deadline).await?;
        Ok(self.host.read(look))
    }

    /// Cluster time, which a state that nobody writes to lags behind.
    fn now(&self, state: &State) -> Timestamp {
        let now = Timestamp::from_millis(self.host.replica.now_ms());
        now.max(state.clock())
    }
}

fn list(state: &State, prefix: &[u8], now: Timestamp) -> v1::FleetListResponse {
    let reports = state.fleet().reports(prefix);
    let entries: Vec<_> = reports
        .map(|(key, reported)| reported.to_wire(&key.identity))
        .collect();
    let reports = state.fleet().reports(prefix);
    let prefixes: BTreeSet<&Bytes> = reports.map(|(key, _)| &key.prefix).collect();
    let prefixes = prefixes.into_iter().map(|prefix| v1::FleetPrefix {
        prefix: prefix.clone(),
        newest: state.last_change(&KeyRange::prefix(prefix.clone())),
    });
    v1::FleetListResponse {
        header: None,
        entries,
        now_ms: now.as_millis(),
        prefixes: prefixes.collect(),
    }
}

/// The reports that are to be forgotten.
fn chosen(state: &State, request: &v1::FleetForgetRequest, now: Timestamp) -> Vec<ReportKey> {
    let is_meant = |key: &ReportKey| {
        (request.identity.is_empty() || request.identity == *key.identity)
            && request.set.as_ref().is_none_or(|set| **set == *key.set)
            && request
                .instance
                .as_ref()
                .is_none_or(|instance| **instance == *key.instance)
    };
    let reports = state.fleet().reports(&request.prefix);
    let meant = reports
        .filter(|(key, reported)| is_meant(key) && (!request.stale || reported.is_stale(now)));
    meant.map(|(key, _)| key.clone()).collect()
}

fn key_to_wire(key: &ReportKey) -> log::FleetKey {
    log::FleetKey {
        identity: key.identity.to_string(),
        prefix: key.prefix.clone(),
        set: key.set.to_string(),
        instance: key.instance.to_string(),
    }
}
