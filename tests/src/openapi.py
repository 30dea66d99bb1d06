"""Holds an OpenAPI document against its own schema, and answers against the document: both as JSON on standard input."""
import json, sys
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
document, answers = json.load(sys.stdin)
validate(document)
for path, answer in answers:
    schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    whole = {"$ref": "#/components/schemas/" + schema["$ref"].rsplit("/", 1)[1], "components": document["components"]}
    errors = [f"{path}: {list(e.absolute_path)}: {e.message[:300]}" for e in Draft202012Validator(whole).iter_errors(answer)]
    if errors:
        sys.exit("\n".join(errors[:5]))
print(len(answers))
