"""People who bring keys of other systems in and take keys out, two for each step, for tests of the vault's shell."""

import base64

from tests.vault.shop import Shop


class Movers(Shop):
    """Two who look after keys, one who moves values, one who still speaks the other format."""

    def __init__(self, made, tenant="acme"):
        super().__init__(made, tenant)
        hire = made.hire
        self.people |= {
            "second": hire(tenant, "user:local|bob", "role:key-admin"),
            "mover": hire(tenant, "svc:mover", "role:moving-service"),
            "foreign": hire(tenant, "svc:foreign", "role:foreign-service"),
        }

    def bring(self, key, material, form="tink", **rest):
        asked = self.call("keys", "keys.import", key=key, format=form, material=material, **rest)
        assert (asked.state, asked.approved_by) == ("asked", None)
        return self.call("second", "keys.approve_import", key=key, request=asked.request)

    def take_out(self, key, **rest):
        asked = self.call("keys", "keys.export", key=key, **rest)
        assert (asked.state, asked.keyset) == ("asked", None)
        approved = self.call("second", "keys.approve_export", key=key, request=asked.request)
        assert (approved.state, approved.keyset) == ("approved", None)
        found = self.call("keys", "keys.export", key=key, **rest)
        assert found.state == "exported"
        return found.keyset

    def opened(self, key, *items):
        answer = self.call("foreign", "imported_keys.decrypt", key=key, items=list(items))
        return [one.get("plaintext") or one["problem"]["detail"] for one in answer.model_dump()["results"]]

    def sealed(self, key, *plaintexts, associated=b""):
        items = [{"plaintext": enc(one), "associated_data": enc(associated)} for one in plaintexts]
        answer = self.call("foreign", "imported_keys.encrypt", key=key, items=items)
        return [base64.b64decode(one["ciphertext"]) for one in answer.model_dump()["results"]]

    def versions(self, key):
        [found] = [one for one in self.call("keys", "imported_keys.list").data if one.key == key]
        return found.versions


def enc(raw):
    return base64.b64encode(raw).decode()
