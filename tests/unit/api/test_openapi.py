"""The description of the API, held against the application and its resources."""

from collections import Counter
from threading import Event
from typing import Any

import falcon.inspect
import pytest
from falcon.testing import TestClient
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from ipam.api.app import ApiOptions, create_app
from ipam.api.http.problems import PROBLEMS
from ipam.api.openapi.document import problems_of
from ipam.api.openapi.parameters import PARAMETERS
from ipam.hooks.config import CHANGES
from ipam.models.fields import Access, declarations
from ipam.models.job import Job
from ipam.models.lease import Lease
from ipam.models.pool import Pool
from ipam.models.reservation import Reservation
from ipam.models.subnet import Subnet
from ipam.models.token import Token
from ipam.util.lossless_json import dumps
from ipam.wire import resources
from ipam.wire.examples import EXAMPLES
from ipam.wiring import Services
from tests.support.described import OPERATIONS
from tests.support.steps import make_subnet, reserve

# Of no operation: the router finds none.
OF_NO_OPERATION = {"method-not-allowed"}
# Names of metadata are of any kind: in the list of known ones this stands for them.
METADATA = "metadata.<path>"
# As hooks know changes.
VERBS = {"POST": "create", "PATCH": "update", "PUT": "update", "DELETE": "delete"}


@pytest.fixture
def app(services: Services) -> Any:
    return create_app(services, lambda: None, Event(), ApiOptions(["*"]))


@pytest.fixture
def api(app: Any) -> TestClient:
    return TestClient(app)


@pytest.fixture
def document(api: TestClient) -> dict[str, Any]:
    answer = api.simulate_get("/openapi.json")
    assert answer.status_code == 200
    return answer.json


def test_description_is_valid_openapi(document):
    validate(document)


def test_description_is_sent_once_to_a_caller_that_keeps_it(api):
    tag = api.simulate_get("/openapi.json").headers["ETag"]
    assert api.simulate_get("/openapi.json", headers={"If-None-Match": tag}).status_code == 304
    assert api.simulate_get("/openapi.json?pretty=true").status_code == 400


def test_every_route_is_described_and_nothing_else_is(app, document):
    routed = {
        (route.path.replace("id_", "id"), method.method.lower())
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        if not method.internal and method.method != "HEAD"
    }
    described = {(path, name) for path, item in document["paths"].items() for name in item if name != "parameters"}
    assert described == routed


def test_operations_have_names_of_their_own():
    assert set(Counter(operation.id for operation in OPERATIONS.values()).values()) == {1}


def test_every_problem_is_one_of_an_operation():
    described = {
        slug for route, operation in OPERATIONS.items() for slug in problems_of(route, operation, is_public=False)
    }
    assert described == set(PROBLEMS) - OF_NO_OPERATION


def test_operations_may_be_rejected_where_hooks_are_asked():
    for route, operation in OPERATIONS.items():
        method, path = route.split()
        *_, collection = [part for part in path.split("/") if "{" not in part]
        is_asked = f"{collection.removesuffix('s')}.{VERBS.get(method)}" in CHANGES
        assert ("rejected" in operation.problems) is is_asked, route


def test_operations_have_the_query_parameters_that_they_are_described_with(api, services):
    """What an operation does not know it refuses, and says what it knows."""
    subnet = make_subnet(services)
    job = reserve(services, subnet)
    ids = {"pools": subnet.pool, "subnets": subnet.id, "reservations": job.reservation}
    for route, operation in OPERATIONS.items():
        if not operation.is_query_checked:
            continue
        method, path = route.split()
        url = path.replace("{id}", str(ids.get(path.split("/")[1]))).replace("{address}", "10.0.0.1")
        answer = api.simulate_request(method, url, params={"unheard-of": "1"})
        assert answer.json["type"] == "/problems/unknown-parameter", (route, answer.text)
        _, _, names = answer.json["detail"].rstrip(".").partition("known here: ")
        described = [one for key in operation.parameters if (one := PARAMETERS[key])["in"] == "query"]
        expected = {METADATA if one["name"] == "metadata" else one["name"] for one in described}
        assert {name for name in names.split(", ") if name} == expected, route


@pytest.mark.parametrize(
    ("declared", "model"),
    [
        (Pool, resources.Pool),
        (Subnet, resources.Subnet),
        (Reservation, resources.Reservation),
        (Lease, resources.Lease),
        (Job, resources.Job),
        (Token, resources.CreatedToken),
    ],
)
def test_models_have_the_fields_that_resources_show(declared, model):
    shown = {name for _, name, _ in declarations(declared).shown} | {*getattr(declared, "joined", ())}
    page_of_leases = {"next"} if declared is Reservation else set()
    assert set(model.model_fields) == shown | page_of_leases


def test_writable_fields_can_be_written(document):
    schemas = document["components"]["schemas"]
    bodies = {Pool: "Description", Subnet: "SubnetBody", Reservation: "ReservationBody", Token: "TokenBody"}
    for declared, body in bodies.items():
        assert declarations(declared).names[Access.WRITABLE] <= set(schemas[body]["properties"])


def test_every_body_has_an_example_that_its_schema_allows(document):
    used = {body for one in OPERATIONS.values() for body in one.bodies}
    used |= {model for one in OPERATIONS.values() for answer in one.answers.values() for model in answer.models}
    assert used <= set(EXAMPLES)
    schemas = document["components"]["schemas"]
    for model, example in EXAMPLES.items():
        schema = {"$ref": f"#/components/schemas/{model.__name__}", "components": {"schemas": schemas}}
        OAS31Validator(schema, format_checker=oas31_format_checker).validate(example)
        model.model_validate_json(dumps(example))


def test_every_field_and_parameter_is_explained(document):
    for name, schema in document["components"]["schemas"].items():
        for field, shown in schema.get("properties", {}).items():
            assert shown.get("description"), (name, field)
    assert all(one["description"] for one in document["components"]["parameters"].values())
