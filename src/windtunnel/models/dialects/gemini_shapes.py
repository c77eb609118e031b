"""The messages of Gemini's protocol, field by field, and its schemas as JSON schemas.

Source: https://ai.google.dev/api (GenerateContentRequest, Content, Tool, Schema and others)
and the google-genai SDK's types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.models.dialects.gemini_fields import ListOf, MapOf, Message
from windtunnel.models.protocol import JsonObject

SCHEMA = Message(
    type="enum",
    format="string",
    title="string",
    description="string",
    nullable="bool",
    enum=ListOf("string"),
    required=ListOf("string"),
    propertyOrdering=ListOf("string"),
    minItems="int",
    maxItems="int",
    minLength="int",
    maxLength="int",
    minProperties="int",
    maxProperties="int",
    minimum="float",
    maximum="float",
    pattern="string",
    example="any",
    default="any",
    additionalProperties="any",
    ref="string",
    defs="any",
)
SCHEMA.fields |= {
    "properties": MapOf(SCHEMA),
    "items": SCHEMA,
    "anyOf": ListOf(SCHEMA),
}
_BLOB = Message(data="bytes", mimeType="string", displayName="string")
PART = Message(
    text="string",
    thought="bool",
    thoughtSignature="bytes",
    inlineData=_BLOB,
    fileData=Message(fileUri="string", mimeType="string", displayName="string"),
    functionCall=Message(
        id="string", name="string", args="struct", partialArgs="any", willContinue="bool"
    ),
    functionResponse=Message(
        id="string",
        name="string",
        response="struct",
        parts="any",
        willContinue="bool",
        scheduling="enum",
    ),
    **dict.fromkeys(
        (
            "executableCode",
            "codeExecutionResult",
            "videoMetadata",
            "mediaResolution",
            "toolCall",
            "toolResponse",
            "partMetadata",
            "audioTranscription",
            "mediaProcessing",
            "speechMetadata",
            "documentMetadata",
            "spreadsheetMetadata",
            "audioMetadata",
        ),
        "any",
    ),
)
CONTENT = Message(role="string", parts=ListOf(PART))
FUNCTION = Message(
    name="string",
    description="string",
    parameters=SCHEMA,
    parametersJsonSchema="any",
    response=SCHEMA,
    responseJsonSchema="any",
    behavior="enum",
)
TOOL = Message(
    functionDeclarations=ListOf(FUNCTION),
    **dict.fromkeys(
        (
            "googleSearch",
            "googleSearchRetrieval",
            "googleMaps",
            "codeExecution",
            "computerUse",
            "fileSearch",
            "urlContext",
            "mcpServers",
        ),
        "any",
    ),
)
TOOL_CONFIG = Message(
    functionCallingConfig=Message(
        mode="enum", allowedFunctionNames=ListOf("string"), streamFunctionCallArguments="bool"
    ),
    retrievalConfig="any",
    includeServerSideToolInvocations="bool",
)
GENERATION = Message(
    candidateCount="int",
    stopSequences=ListOf("string"),
    maxOutputTokens="int",
    temperature="float",
    topP="float",
    topK="float",
    seed="int",
    presencePenalty="float",
    frequencyPenalty="float",
    responseLogprobs="bool",
    logprobs="int",
    responseMimeType="string",
    responseSchema=SCHEMA,
    responseJsonSchema="any",
    responseModalities=ListOf("enum"),
    thinkingConfig=Message(includeThoughts="bool", thinkingBudget="int", thinkingLevel="enum"),
    **dict.fromkeys(
        (
            "speechConfig",
            "imageConfig",
            "mediaResolution",
            "enableEnhancedCivicAnswers",
            "audioTranscriptionConfig",
            "responseFormat",
            "translationConfig",
            "audioTimestamp",
            "enableAffectiveDialog",
        ),
        "any",
    ),
)
_SAFETY = Message(category="enum", threshold="enum", method="enum")
GENERATE = Message(
    model="string",
    contents=ListOf(CONTENT),
    systemInstruction=CONTENT,
    tools=ListOf(TOOL),
    toolConfig=TOOL_CONFIG,
    safetySettings=ListOf(_SAFETY),
    generationConfig=GENERATION,
    cachedContent="string",
    labels=MapOf("string"),
    serviceTier="enum",
    store="bool",
    continuationToken="bytes",
)
COUNT = Message(contents=ListOf(CONTENT), generateContentRequest=GENERATE, model="string")
EMBED = Message(
    model="string",
    content=CONTENT,
    taskType="enum",
    title="string",
    outputDimensionality="int",
    embedContentConfig="any",
)
BATCH_EMBED = Message(model="string", requests=ListOf(EMBED))


# -- schemas --------------------------------------------------------------------------------------


def json_schema(schema: Mapping[str, Any]) -> JsonObject:
    """Gemini's schema as JSON schema.

    >>> json_schema({"type": "STRING", "nullable": True})
    {'type': ['string', 'null']}
    """
    made: JsonObject = {}
    for name, value in schema.items():
        if name == "type":
            made["type"] = str(value).lower()
        elif name == "properties":
            made["properties"] = {key: json_schema(one) for key, one in value.items()}
        elif name == "items":
            made["items"] = json_schema(value)
        elif name == "anyOf":
            made["anyOf"] = [json_schema(one) for one in value]
        elif name in ("ref", "defs"):
            made[f"${name}"] = value
        elif name not in ("nullable", "propertyOrdering", "example"):
            made[name] = value
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if made.get("type") == "type_unspecified":
        del made["type"]
    return made
