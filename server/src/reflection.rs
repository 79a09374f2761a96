//! gRPC reflection, made when somebody asks for the first time: all that it knows of our messages takes half
//! a megabyte, and most nodes are never asked.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures::future::Either;
use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService, service::Routes};
use tonic_reflection::{pb::v1::server_reflection_server, server::Builder};
use tower::Service;

/// The reflection service of a front.
#[derive(Clone)]
pub(crate) struct Reflection {
    packages: &'static [u8],
    service: Arc<OnceLock<Result<Routes, Status>>>,
}

impl Reflection {
    /// That knows these packages, as encoded file descriptors, and gRPC health.
    pub(crate) fn new(packages: &'static [u8]) -> Self {
        Self {
            packages,
            service: Arc::default(),
        }
    }

    fn make(&self) -> Result<Routes, Status> {
        let service = Builder::configure()
            .register_encoded_file_descriptor_set(self.packages)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        let service = service.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Routes::new(service))
    }
}

impl NamedService for Reflection {
    const NAME: &'static str = server_reflection_server::SERVICE_NAME;
}

impl Service<Request<Body>> for Reflection {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <Routes as Service<Request<Body>>>::Future,
        Ready<Result<Self::Response, Self::Error>>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.service.get_or_init(|| self.make()) {
            // Routes are always ready.
            Ok(routes) => Either::Left(routes.clone().call(request)),
            Err(status) => Either::Right(ready(Ok(status.clone().into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    use super::*;

    /// The names of all services.
    async fn listed(reflection: &Reflection) -> Result<Vec<String>, Status> {
        let question = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        // Behind another router, as in a front.
        let mut client = ServerReflectionClient::new(Routes::new(reflection.clone()));
        let questions = futures::stream::iter([question]);
        let answers = client.server_reflection_info(questions).await?;
        let answer = answers.into_inner().message().await?;
        match answer.and_then(|answer| answer.message_response) {
            Some(MessageResponse::ListServicesResponse(list)) => {
                Ok(list.service.into_iter().map(|one| one.name).collect())
            }
            other => panic!("no list but {other:?}"),
        }
    }

    #[tokio::test]
    async fn it_knows_the_services_of_each_front_and_is_made_when_asked() {
        for (packages, service) in [
            (holdfast_proto::DESCRIPTORS, "holdfast.v1.Kv"),
            (holdfast_proto::etcd::DESCRIPTORS, "etcdserverpb.KV"),
        ] {
            let reflection = Reflection::new(packages);
            assert!(reflection.service.get().is_none());
            let names = listed(&reflection).await.unwrap();
            for known in [service, "grpc.health.v1.Health", Reflection::NAME] {
                assert!(names.iter().any(|name| name == known), "{names:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_descriptor_is_said_to_who_asks() {
        let refused = listed(&Reflection::new(b"no descriptor")).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::Internal);
    }
}
