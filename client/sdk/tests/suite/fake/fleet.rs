//! What clients say they run.

use holdfast_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::{Context, absent};

#[async_trait]
impl v1::fleet_server::Fleet for Context {
    async fn report(
        &self,
        request: Request<v1::FleetReportRequest>,
    ) -> Result<Response<v1::FleetReportResponse>, Status> {
        self.misbehave().await?;
        let reports = request.into_inner().reports;
        let header = self.header();
        let mut world = self.shared.world();
        let mut refused = Vec::new();
        if !world.no_reports.is_empty() {
            let why = world.no_reports.clone();
            let all = (0..).zip(&reports);
            refused.extend(all.map(|(index, _)| v1::FleetRefused {
                index,
                why: why.clone(),
            }));
        }
        world.reports.extend(reports);
        Ok(Response::new(v1::FleetReportResponse { header, refused }))
    }

    async fn list(
        &self,
        _: Request<v1::FleetListRequest>,
    ) -> Result<Response<v1::FleetListResponse>, Status> {
        absent()
    }

    async fn forget(
        &self,
        _: Request<v1::FleetForgetRequest>,
    ) -> Result<Response<v1::FleetForgetResponse>, Status> {
        absent()
    }

    async fn administrators(
        &self,
        _: Request<v1::FleetAdministratorsRequest>,
    ) -> Result<Response<v1::FleetAdministratorsResponse>, Status> {
        self.misbehave().await?;
        Ok(Response::new(v1::FleetAdministratorsResponse {
            header: self.header(),
            identities: self.shared.world().administrators.clone(),
        }))
    }
}
