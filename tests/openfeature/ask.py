"""Asks flags as an application does, by OpenFeature's SDK and its OFREP provider.

Arguments: the address of a Serin, and a JSON list of questions {type, flag, default, context}. Prints the list of
answers {value, variant, reason, error, metadata}.
"""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

address, questions = sys.argv[1], json.loads(sys.argv[2])
api.set_provider(OFREPProvider(address))
client = api.get_client()


def ask(question):
    attributes = dict(question["context"])
    context = EvaluationContext(attributes.pop("targetingKey", None), attributes)
    evaluate = getattr(client, f"get_{question['type']}_details")
    details = evaluate(question["flag"], question["default"], context)
    return {
        "value": details.value,
        "variant": details.variant,
        "reason": details.reason,
        "error": details.error_code,
        "metadata": details.flag_metadata,
    }


print(json.dumps([ask(question) for question in questions]))
api.shutdown()
