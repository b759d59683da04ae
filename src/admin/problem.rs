//! Every error of the admin API as an RFC 9457 problem document.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::api::{FieldError, ProblemBody};
use crate::control::{Entry, Refusal};

/// What went wrong, for a person and for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<Entry>,
    generation: Option<u64>,
}

/// The closed set of problems. Each has its own `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 400: the body is no JSON, or no text.
    Malformed,
    /// 401: nobody, or not with a token that somebody has.
    Unauthorized,
    /// 403: somebody without the role.
    Forbidden,
    /// 403: a browser sent it from a page of another origin.
    ForeignOrigin,
    /// 403: a client of a proxy sent it.
    Proxied,
    /// 404: no such path, route, rollout or backend.
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 409: not in this phase.
    Conflict,
    /// 412: the generation moved on.
    Stale,
    /// 413: the body is larger than we read.
    TooLarge,
    /// 421: the `Host` is not ours.
    ForeignHost,
    /// 422: fields of the body, each named.
    Invalid,
    /// 422: the configuration file, each problem named.
    InvalidConfiguration,
    /// 500: a fault of ours.
    Internal,
    /// 503: not now.
    Unavailable,
}

impl Kind {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Who are you?"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not with these roles"),
            Self::Proxied => (StatusCode::FORBIDDEN, "proxied", "Not through the proxy"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign-origin", "Foreign origin"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
            ),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Not possible now"),
            Self::Stale => (
                StatusCode::PRECONDITION_FAILED,
                "stale-generation",
                "The generation moved on",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large"),
            Self::ForeignHost => (StatusCode::MISDIRECTED_REQUEST, "foreign-host", "Foreign host"),
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid request"),
            Self::InvalidConfiguration => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-configuration",
                "Invalid configuration",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
        }
    }
}

impl Problem {
    /// A problem that one sentence tells.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            generation: None,
        }
    }

    /// Which of them it is.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// 422 with each bad field of a body.
    pub(super) fn invalid(errors: Vec<Entry>) -> Self {
        Self {
            errors,
            ..Self::new(Kind::Invalid, "see `errors`; nothing was changed")
        }
    }

    /// 422 with each problem of a file.
    pub(super) fn invalid_configuration(errors: Vec<Entry>, detail: &str) -> Self {
        Self {
            errors,
            ..Self::new(Kind::InvalidConfiguration, detail)
        }
    }

    fn render(&self) -> Vec<u8> {
        let (status, slug, title) = self.kind.parts();
        let body = ProblemBody {
            kind: format!("urn:serin:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            errors: self.errors.iter().map(FieldError::from).collect(),
            generation: self.generation,
        };
        serde_json::to_vec(&body).expect("a document of texts and numbers is JSON")
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Forbidden(detail) => Self::new(Kind::Forbidden, detail),
            Refusal::NotFound(detail) => Self::new(Kind::NotFound, detail),
            Refusal::Invalid(errors) => Self::invalid(errors),
            Refusal::Stale { generation } => Self {
                generation: Some(generation),
                ..Self::new(
                    Kind::Stale,
                    format!("the present generation is {generation}; nothing was changed"),
                )
            },
            Refusal::Conflict(detail) => Self::new(Kind::Conflict, detail),
            Refusal::Unavailable(detail) => Self::new(Kind::Unavailable, detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.render()));
        *response.status_mut() = self.kind.parts().0;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.kind == Kind::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer realm=\"serin\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if self.kind == Kind::Unavailable {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            // Who is turned away leaves the connection to others.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Problem};
    use crate::control::{Entry, Refusal};

    fn check(problem: impl Into<Problem>, expected: &str) {
        assert_eq!(String::from_utf8(problem.into().render()).unwrap(), expected);
    }

    #[test]
    fn a_problem_has_type_title_status_and_detail() {
        check(
            Problem::new(Kind::NotFound, "no route \"a\""),
            r#"{"type":"urn:serin:problem:not-found","title":"Not found","status":404,"detail":"no route \"a\""}"#,
        );
    }

    #[test]
    fn an_old_generation_names_the_present_one() {
        check(
            Refusal::Stale { generation: 42 },
            r#"{"type":"urn:serin:problem:stale-generation","title":"The generation moved on","status":412,"detail":"the present generation is 42; nothing was changed","generation":42}"#,
        );
    }

    #[test]
    fn bad_fields_are_each_named() {
        let entry = |place: &str, path: &str| Entry {
            place: place.into(),
            path: path.into(),
            message: "is wrong".into(),
        };
        check(
            Refusal::Invalid(vec![entry("", "weights.a"), entry("f.yaml:3:1", "routes")]),
            r#"{"type":"urn:serin:problem:invalid","title":"Invalid request","status":422,"detail":"see `errors`; nothing was changed","errors":[{"field":"weights.a","detail":"is wrong"},{"field":"routes","detail":"is wrong","place":"f.yaml:3:1"}]}"#,
        );
    }

    #[test]
    fn a_refusal_keeps_its_words() {
        check(
            Refusal::Conflict("aborted; possible: start, retry".into()),
            r#"{"type":"urn:serin:problem:conflict","title":"Not possible now","status":409,"detail":"aborted; possible: start, retry"}"#,
        );
        check(
            Refusal::Unavailable("disk full".into()),
            r#"{"type":"urn:serin:problem:unavailable","title":"Not available now","status":503,"detail":"disk full"}"#,
        );
    }
}
