"""What is asked of MongoDB whatever its URI says, and what is made of its answers."""

import pytest
from pymongo import ReadPreference
from pymongo.errors import BulkWriteError, OperationFailure

from ipam.errors import AccessDenied, Transient
from ipam.storage.connection import connect, insert_missing, speaks_mongo

NO_MAJORITY = {"code": 64, "errmsg": "waiting for replication timed out"}


class Answering:
    """A collection whose inserts end with *details*."""

    def __init__(self, **details: object) -> None:
        self._details = details

    def insert_many(self, *_: object, **__: object) -> None:
        raise BulkWriteError(self._details)


def test_decisions_are_read_from_the_primary_whatever_the_uri_prefers():
    database = connect("mongodb://127.0.0.1:1/?readPreference=secondaryPreferred", "x", 1)
    assert database["jobs"].read_preference == ReadPreference.PRIMARY
    database.client.close()


@pytest.mark.parametrize("faults", [[], [{"code": 11000}]])
def test_a_write_that_no_majority_has_is_not_taken_for_done(faults):
    with pytest.raises(Transient):
        insert_missing(Answering(writeErrors=faults, writeConcernErrors=[NO_MAJORITY]), [{"_id": 1}])


def test_insert_leaves_stored_documents_alone_and_raises_any_other_fault():
    insert_missing(Answering(writeErrors=[{"code": 11000}], writeConcernErrors=[]), [{"_id": 1}])
    with pytest.raises(BulkWriteError):
        insert_missing(Answering(writeErrors=[{"code": 2}], writeConcernErrors=[]), [{"_id": 1}])


@pytest.mark.parametrize(("code", "said"), [(18, "authentication failed"), (13, "not authorized on ipam")])
def test_access_denied_by_the_database_is_told_and_may_pass(code, said):
    """In a container the server may be there before its user is."""

    @speaks_mongo
    class Closed:
        def read(self) -> None:
            raise OperationFailure(said, code, {"errmsg": said})

    with pytest.raises(AccessDenied) as refused:
        Closed().read()
    assert (refused.value.said, said in refused.value.detail) == (said, False)  # Which is not for callers.
