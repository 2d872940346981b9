"""The JSON that goes over the wire, as pydantic models: for the OpenAPI description, clients and tests.

Answers are not made with them, for that would cost time; tests hold every answer against them.
"""
