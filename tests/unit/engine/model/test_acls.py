"""ACLs as text, as getfacl(1) writes them."""

from __future__ import annotations

import pytest

from engine.model import acls
from tests.sample_tree import ACL


def test_an_acl_as_text() -> None:
    assert acls.text(ACL) == b"user::rw-,user:1234:r--,group::r--,mask::r--,other::---"


@pytest.mark.parametrize("value", [b"", b"\1\0\0\0", ACL[:-1], ACL[:4] + b"\7\0" + ACL[6:]])
def test_what_is_no_acl_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="ACL"):
        acls.text(value)
