using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;

using Cowork.Domain;

using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.OpenApi;

namespace Cowork.Web.Http;

/// <summary>Endpoint metadata: the error statuses of the endpoint, beside those of every endpoint.</summary>
public sealed record RefusesWith(IReadOnlyList<int> Statuses);

/// <summary>Endpoint metadata: the header <c>Last-Event-ID</c> can carry the cursor.</summary>
public sealed record ResumesByHeader;

/// <summary>Endpoint metadata: a header that the endpoint reads.</summary>
public sealed record ReadsHeader(string Name, string Description);

/// <summary>Endpoint metadata: the header <c>Prefer</c> can say how long to wait.</summary>
public sealed record WaitsAsPreferred;

/// <summary>Endpoint metadata: the media type of bytes that the endpoint answers with when it is asked to.</summary>
public sealed record AnswersAsBytes(string MediaType);

/// <summary>Endpoint metadata: the media types of text that content negotiation can choose.</summary>
public sealed record AnswersAsText(IReadOnlyList<string> MediaTypes);

/// <summary>Endpoint metadata: these error statuses may come with a page for a browser.</summary>
public sealed record AnswersPages(params IReadOnlyList<int> Statuses);

/// <summary>Endpoint metadata and transformers for /openapi.json.</summary>
public static class OpenApiDescription
{
    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, params WholeNumberQuery[] parameters) => endpoint.WithMetadata([.. parameters]);

    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, ChoiceQuery parameter) => endpoint.WithMetadata(parameter);

    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, TextQuery parameter) => endpoint.WithMetadata(parameter);

    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, TimeQuery parameter) => endpoint.WithMetadata(parameter);

    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, IdQuery parameter) => endpoint.WithMetadata(parameter);

    public static RouteHandlerBuilder TakesLastEventId(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(new ResumesByHeader());

    public static RouteHandlerBuilder TakesHeader(this RouteHandlerBuilder endpoint, string name, string description) => endpoint.WithMetadata(new ReadsHeader(name, description));

    public static RouteHandlerBuilder TakesPrefer(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(new WaitsAsPreferred());

    public static RouteHandlerBuilder AlsoAsText(this RouteHandlerBuilder endpoint, params string[] mediaTypes) =>
        endpoint.WithMetadata(new AnswersAsText(mediaTypes));

    public static RouteHandlerBuilder Refuses(this RouteHandlerBuilder endpoint, params int[] statuses) => endpoint.WithMetadata(new RefusesWith(statuses));

    /// <summary>The parts that are about what is in sessions.</summary>
    static readonly HashSet<string> InSessions =
    [
        "Sessions", "Desktop sessions", "Conversations", "Runs", "Tasks", "Responses", "Approvals", "Artifacts", "Files", "Scratchpads", "Memories", "Retention",
    ];

    /// <summary>What the parts of the API are about. Every operation is in one of them.</summary>
    static readonly Dictionary<string, string> Tags = new()
    {
        ["Scratchpads"] = "A scratchpad is a notebook of a conversation: cells that a kernel of Jupyter executes in a sandbox.",
        ["Responses"] = "A response is a run as contract B shows it: what the agent says to a message in a conversation.",
        ["Budget"] = "What the models with a price may cost the tenant in a UTC day.",
        ["Context"] = "Files in the folders of the caller's sessions are indexed, and passages of them found.",
        ["Tasks"] = "A run as contract C shows it: a task for a session's agent, which can be steered and stopped.",
        ["Session events"] = "A session as it is and what happens in it, for contract C's clients and browsers.",
        ["Desktop sessions"] = "A session as contract C shows it: the folders and connections that an agent may use.",
        ["Sessions"] = "A session is one conversation with an agent over one folder; its runs go one at a time.",
        ["Groups"] = "A group is a conversation of members and agents.",
        ["Projects"] = "A project groups conversations, with a model, skills and connections for all of them.",
        ["Conversations"] = "A conversation is a session as contract B shows it, with a title, a goal and a project.",
        ["Files"] = "Files that were uploaded to a project or a conversation, with their text.",
        ["Runs"] = "A run is the durable work on one turn: rounds of a model, calls of tools, one end.",
        ["Events"] = "The feeds of a session and of the tenant, to poll or to stream.",
        ["Approvals"] = "What a person must allow before a run goes on.",
        ["Artifacts"] = "Files that runs wrote below their output root, with versions: apps, dashboards, reports and documents.",
        ["Skills"] = "Prompt templates with parameters, in versions that never change.",
        ["Memories"] = "What is remembered across runs, and where it comes from.",
        ["Schedules"] = "Skills that are run at planned times.",
        ["Connectors"] = "Connections to outside sources, with encrypted credentials that are never answered.",
        ["Works"] = "What tools have produced for a user, and the user has saved.",
        ["Agents"] = "What the controllers of groups have agents answer.",
        ["Trust"] = "Keys, apps and tokens by which apps, group controllers and members of groups are believed.",
        ["Retention"] = "How long data is kept, what was removed, and what is held.",
        ["Audit"] = "Signed heads of the log, and proofs that events are in it.",
        ["Data subjects"] = "Persons whose texts are sealed under keys of their own, and erased with them.",
        ["Tokens"] = "API tokens of the tenant.",
        ["Policy"] = "The rules by which calls of tools are judged, and what others would have decided.",
        ["Operations"] = "Health, metrics and what the host has.",
        ["Engine"] = "Jobs that were given up, and the hosts that work on the database.",
    };

    /// <summary>Key of a schema's metadata: the closed set that its text is of.</summary>
    const string WordsKey = "words";

    public static void Describe(this OpenApiOptions options)
    {
        options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
        // Answers show a content as a string, wherever it is stored, and a key as its id. Any JSON is what its property says.
        options.CreateSchemaReferenceId = type =>
            Plain(type.Type) is var plain
            && (plain == typeof(Content) || plain == typeof(JsonElement) || plain == typeof(JsonText) || typeof(IStreamKey).IsAssignableFrom(plain)
                || OptionalOf(plain) is not null) ? null
            : OpenApiOptions.CreateDefaultSchemaReferenceId(type);
        options.AddSchemaTransformer((schema, context, _) =>
        {
            Complete(schema, context.JsonTypeInfo.Type, context.JsonPropertyInfo);
            return Task.CompletedTask;
        });
        options.AddOperationTransformer(Operation);
        options.AddDocumentTransformer((document, _, _) =>
        {
            Complete(document);
            return Task.CompletedTask;
        });
    }

    /// <summary>What an optional member of a body may be; null: the type is none.</summary>
    static Type? OptionalOf(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Application.Optional<>) ? type.GetGenericArguments()[0] : null;

    static Type Plain(Type type) => Nullable.GetUnderlyingType(type) ?? type;

    static void Complete(OpenApiSchema schema, Type type, JsonPropertyInfo? property)
    {
        var nullable = type != Plain(type) || property is { IsGetNullable: true } ? JsonSchemaType.Null : default;
        if (Plain(type) == typeof(DateTimeOffset))
        {
            (schema.Type, schema.Format) = (JsonSchemaType.String | nullable, "date-time");
        }
        else if (typeof(IStreamKey).IsAssignableFrom(Plain(type)))
        {
            // Ids are strings, whatever they name.
            schema.Type = JsonSchemaType.String | nullable;
        }
        else if (OptionalOf(type) is { } optional)
        {
            schema.Type = JsonSchemaType.Null | (optional == typeof(string) ? JsonSchemaType.String : JsonSchemaType.Array);
            schema.Items = optional == typeof(string) ? null : new OpenApiSchema { Type = JsonSchemaType.String };
            // It is the value, or is not there: the members of the type are none of the document's, nor is what it is by itself.
            (schema.Properties, schema.Required, schema.Default) = (null, null, null);
            schema.Description = schema.Description?.StartsWith("A member of a change", StringComparison.Ordinal) == true ? null : schema.Description;
        }
        else if (type == typeof(Content))
        {
            schema.Description = null;
            // A bundle has the text as it is stored.
            schema.Type = JsonSchemaType.String | nullable | (property?.DeclaringType == typeof(Projections.RunSummary) ? JsonSchemaType.Object : default);
        }
        else if (type == typeof(JsonText))
        {
            (schema.Type, schema.Description) = (JsonSchemaType.Object | nullable, property is null ? null : schema.Description);
        }
        else if (Plain(type) == typeof(JsonElement) && property is not null)
        {
            schema.Type = Is<TextOrListAttribute>(property) is not null ? JsonSchemaType.String | nullable
                : JsonSchemaType.Object | nullable | (Is<ObjectOrTextAttribute>(property) is null ? default : JsonSchemaType.String);
        }
        else if (property is not null && ElementOf(type) is { } element && typeof(IStreamKey).IsAssignableFrom(element))
        {
            schema.Items = new OpenApiSchema { Type = JsonSchemaType.String };
        }
        if (property is not null && Is<FileBytesAttribute>(property) is not null)
        {
            schema.Format = "binary";
        }
        if (property is not null && Is<NeverNullAttribute>(property) is not null)
        {
            schema.Type &= ~JsonSchemaType.Null;
        }
        // A bundle's run is the run.
        var described = property is { AttributeProvider: MemberInfo member } && property.DeclaringType == typeof(Projections.RunSummary)
            ? typeof(Endpoints.AgentService.RunDetails).GetProperty(member.Name) : property?.AttributeProvider;
        if (described?.GetCustomAttributes(typeof(WordsAttribute), inherit: true) is [WordsAttribute words, ..])
        {
            (schema.Metadata ??= new Dictionary<string, object>())[WordsKey] = words;
        }
    }

    static Type? ElementOf(Type type) => type.GetInterfaces().Append(type).FirstOrDefault(i => i.IsGenericType && i.GetGenericTypeDefinition() == typeof(IEnumerable<>))
        ?.GetGenericArguments()[0];

    static T? Is<T>(JsonPropertyInfo property)
        where T : Attribute => (T?)property.AttributeProvider?.GetCustomAttributes(typeof(T), inherit: true).FirstOrDefault();

    static void Complete(OpenApiDocument document)
    {
        document.Info = new()
        {
            Title = "Cowork",
            Version = "1",
            Description = "Sessions, turns, runs and their events. Every refusal is application/problem+json with a stable code; below /myworks it is that contract's envelope.",
            License = new() { Name = "All rights reserved", Identifier = "LicenseRef-All-Rights-Reserved" },
        };
        // Relative to the document: behind a proxy the host does not know by which address it was asked.
        document.Servers = [new() { Url = "/", Description = "The host that this document comes from." }];
        document.Components ??= new();
        document.Components.SecuritySchemes ??= new Dictionary<string, IOpenApiSecurityScheme>();
        document.Components.SecuritySchemes["token"] = new OpenApiSecurityScheme
        {
            Type = SecuritySchemeType.Http,
            Scheme = "bearer",
            Description = "An API token, cowork_…, or a JWT of the authority that the host is told of; not needed in local mode.",
        };
        document.Components.SecuritySchemes["app"] = new OpenApiSecurityScheme
        {
            Type = SecuritySchemeType.Http,
            Scheme = "bearer",
            BearerFormat = "JWT",
            Description = "A JWT that an app signs for this very request with a registered key.",
        };
        document.Components.SecuritySchemes["session"] = new OpenApiSecurityScheme
        {
            Type = SecuritySchemeType.ApiKey,
            In = ParameterLocation.Header,
            Name = SignedCallers.CertificateHeader,
            Description = "A session certificate, beside Authorization: Signature and a JWT that the session's key signs for this very request.",
        };
        document.Tags = new HashSet<OpenApiTag>(Tags.Select(tag => new OpenApiTag { Name = tag.Key, Description = tag.Value }));
        foreach (var schema in (document.Components.Schemas ?? new Dictionary<string, IOpenApiSchema>()).Values.OfType<OpenApiSchema>().ToList())
        {
            NameWords(schema, document);
        }
    }

    /// <summary>Puts the enumerations of a schema's properties into the document under their names, so that one type is generated for all properties that have one.</summary>
    static void NameWords(OpenApiSchema of, OpenApiDocument document)
    {
        foreach (var (name, schema) in (of.Properties ?? new Dictionary<string, IOpenApiSchema>()).Select(p => (p.Key, p.Value as OpenApiSchema)).ToList())
        {
            if (schema?.Metadata?.TryGetValue(WordsKey, out var value) != true || value is not WordsAttribute words)
            {
                continue;
            }
            if (document.Components!.Schemas!.ContainsKey(words.Name) is false)
            {
                document.AddComponent(words.Name, new OpenApiSchema
                {
                    Type = JsonSchemaType.String,
                    Enum = [.. words.Words.Select(word => (JsonNode)JsonValue.Create(word))],
                });
            }
            var named = new OpenApiSchemaReference(words.Name, document);
            if (schema.Items is not null)
            {
                schema.Items = named;
            }
            else if (schema.Type?.HasFlag(JsonSchemaType.Null) == true)
            {
                of.Properties![name] = new OpenApiSchema { OneOf = [new OpenApiSchema { Type = JsonSchemaType.Null }, named], Description = schema.Description };
            }
            else
            {
                of.Properties![name] = new OpenApiSchemaReference(words.Name, document) { Description = schema.Description };
            }
        }
    }

    static async Task Operation(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken ct)
    {
        var metadata = context.Description.ActionDescriptor.EndpointMetadata;
        operation.Parameters ??= [];
        foreach (var part in (context.Description.RelativePath ?? "").Split('/').Where(p => p.StartsWith('{')))
        {
            // The rest of an address may have slashes: `{**path}`.
            var name = part.Trim('{', '}').TrimStart('*');
            if (operation.Parameters.All(p => p.Name != name))
            {
                OpenApiSchema schema = name == VersionInPath.Name
                    ? new() { Type = JsonSchemaType.Integer, Format = "int32", Minimum = "1" }
                    : new() { Type = JsonSchemaType.String, MaxLength = PathIds.CharsMax };
                operation.Parameters.Add(Parameter(name, ParameterLocation.Path, schema, required: true));
            }
        }
        foreach (var query in metadata.OfType<WholeNumberQuery>())
        {
            var schema = new OpenApiSchema
            {
                Type = JsonSchemaType.Integer,
                Format = "int64",
                Minimum = query.Min.ToString(System.Globalization.CultureInfo.InvariantCulture),
                Maximum = query.Max.ToString(System.Globalization.CultureInfo.InvariantCulture),
                Default = query.Default is { } usual ? JsonValue.Create(usual) : null,
            };
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, schema, query.Description, query.IsRequired));
        }
        foreach (var query in metadata.OfType<ChoiceQuery>())
        {
            var schema = new OpenApiSchema
            {
                Title = query.TypeName,
                Type = JsonSchemaType.String,
                Enum = [.. query.Choices.Select(choice => (JsonNode)JsonValue.Create(choice))],
                Default = JsonValue.Create(query.Default),
            };
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, schema, query.Description));
        }
        foreach (var query in metadata.OfType<IdQuery>())
        {
            var schema = new OpenApiSchema { Type = JsonSchemaType.String, MaxLength = PathIds.CharsMax };
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, schema, query.Description, query.IsRequired));
        }
        foreach (var query in metadata.OfType<TextQuery>())
        {
            var schema = new OpenApiSchema
            {
                Type = JsonSchemaType.String,
                // One that may be empty, or not there, has no default of its own.
                MinLength = query.Default is "" ? null : 1,
                Default = query.Default is { Length: > 0 } usual ? JsonValue.Create(usual) : null,
            };
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, schema, query.Description, required: query.Default is null));
        }
        if (metadata.OfType<TakesAsOf>().Any())
        {
            operation.Parameters.Add(Parameter(AsOf.Name, ParameterLocation.Query, new() { Type = JsonSchemaType.String }, AsOf.Description));
        }
        foreach (var query in metadata.OfType<TimeQuery>())
        {
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, new() { Type = JsonSchemaType.String, Format = "date-time" }, query.Description));
        }
        if (metadata.OfType<ResumesByHeader>().Any())
        {
            var schema = new OpenApiSchema { Type = JsonSchemaType.Integer, Format = "int64", Minimum = "0" };
            operation.Parameters.Add(Parameter("Last-Event-ID", ParameterLocation.Header, schema, "The id of the last event seen; wins over since_id."));
        }
        foreach (var header in metadata.OfType<ReadsHeader>())
        {
            operation.Parameters.Add(Parameter(header.Name, ParameterLocation.Header, new() { Type = JsonSchemaType.String }, header.Description));
        }
        if (metadata.OfType<WaitsAsPreferred>().Any())
        {
            const string Preferences = "wait=SECONDS or respond-async (RFC 7240): how long to wait, where the request itself does not say.";
            operation.Parameters.Add(Parameter("Prefer", ParameterLocation.Header, new() { Type = JsonSchemaType.String }, Preferences));
        }
        if (context.Description.HttpMethod is "POST" or "PATCH")
        {
            var schema = new OpenApiSchema { Type = JsonSchemaType.String, MinLength = 1, MaxLength = Limits.IdempotencyKeyCharsMax };
            const string Repeated =
                "Sending the request again with the same key does nothing again. An answer with Idempotency-Replayed may be one that an earlier release stored, "
                + "without newer members.";
            operation.Parameters.Add(Parameter("Idempotency-Key", ParameterLocation.Header, schema, Repeated));
        }
        if (operation.RequestBody is null && metadata.OfType<IAcceptsMetadata>().LastOrDefault() is { RequestType: { } body } accepted)
        {
            // Wolverine describes only bodies that it reads itself.
            context.Document!.AddComponent(body.Name, await context.GetOrCreateSchemaAsync(body, cancellationToken: ct));
            operation.RequestBody = new OpenApiRequestBody
            {
                Required = !accepted.IsOptional,
                Content = accepted.ContentTypes.ToDictionary(type => type, _ => new OpenApiMediaType { Schema = new OpenApiSchemaReference(body.Name, context.Document) }),
            };
        }
        if (metadata.OfType<TakesForm>().LastOrDefault() is { Shape: var form })
        {
            context.Document!.AddComponent(form.Name, await context.GetOrCreateSchemaAsync(form, cancellationToken: ct));
            operation.RequestBody = new OpenApiRequestBody
            {
                Content = new Dictionary<string, OpenApiMediaType>
                {
                    ["multipart/form-data"] = new() { Schema = new OpenApiSchemaReference(form.Name, context.Document) },
                },
            };
        }
        var open = metadata.OfType<IAllowAnonymous>().Any();
        // 400 and 431: the request is not proper HTTP, or its headers are too large. 403: a role is missing, or a web page of another site asks.
        // 422: as_of where the endpoint does not take it.
        int[] any = open ? [400, 403, 422, 431] : [400, 401, 403, 422, 429, 431, 503];
        // 408: a body that does not come.
        any = operation.RequestBody is null ? any : [.. any, 408];
        var errors = metadata.OfType<Dialect>().Last().Errors;
        context.Document!.AddComponent(errors.SchemaName, await context.GetOrCreateSchemaAsync(errors.Shape, cancellationToken: ct));
        operation.Responses ??= [];
        // Error responses that a library declares are replaced by the endpoint's own, in the form of its contract.
        foreach (var status in operation.Responses.Keys.Where(status => status[0] is '4' or '5').ToList())
        {
            operation.Responses.Remove(status);
        }
        int[] refuses = [.. metadata.OfType<RefusesWith>().SelectMany(r => r.Statuses)];
        if (refuses.Contains(404) && context.Description.HttpMethod != "GET" && operation.Tags?.Any(tag => InSessions.Contains(tag.Name ?? "")) == true)
        {
            // A command may name what a period of retention removed.
            any = [.. any, 410];
        }
        foreach (var status in refuses.Concat(any).Distinct().Order())
        {
            operation.Responses[status.ToString(System.Globalization.CultureInfo.InvariantCulture)] = new OpenApiResponse
            {
                Description = Microsoft.AspNetCore.WebUtilities.ReasonPhrases.GetReasonPhrase(status),
                Content = new Dictionary<string, OpenApiMediaType> { [errors.ContentType] = new() { Schema = new OpenApiSchemaReference(errors.SchemaName, context.Document) } },
            };
        }
        foreach (var bytes in operation.Responses.Values.SelectMany(r => r.Content ?? new Dictionary<string, OpenApiMediaType>()).Where(c => c.Key == "application/octet-stream"))
        {
            bytes.Value.Schema = new OpenApiSchema { Type = JsonSchemaType.String, Format = "binary" };
        }
        foreach (var status in metadata.OfType<AnswersPages>().SelectMany(pages => pages.Statuses))
        {
            operation.Responses[status.ToString(System.Globalization.CultureInfo.InvariantCulture)].Content!["text/html"] =
                new() { Schema = new OpenApiSchema { Type = JsonSchemaType.String } };
        }
        foreach (var type in metadata.OfType<AnswersAsText>().SelectMany(a => a.MediaTypes))
        {
            operation.Responses["200"].Content![type] = new() { Schema = new OpenApiSchema { Type = JsonSchemaType.String } };
        }
        foreach (var bytes in metadata.OfType<AnswersAsBytes>())
        {
            operation.Responses["200"].Content![bytes.MediaType] = new() { Schema = new OpenApiSchema { Type = JsonSchemaType.String, Format = "binary" } };
        }
        var byToken = new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference("token", context.Document)] = [] };
        operation.Security = open ? []
            : metadata.OfType<TakesSessionSignature>().Any() ? [new() { [new OpenApiSecuritySchemeReference("session", context.Document)] = [] }]
            : metadata.OfType<TakesAppSignature>().LastOrDefault() is { } signed
                ? [new() { [new OpenApiSecuritySchemeReference("app", context.Document)] = [] }, .. signed.OrBearer ? [byToken, new()] : Array.Empty<OpenApiSecurityRequirement>()]
            : metadata.OfType<RequiresToken>().Any() ? [byToken] : [byToken, new()];
        operation.OperationId = metadata.OfType<IEndpointNameMetadata>().Last().EndpointName;
        if (operation.RequestBody is OpenApiRequestBody taken)
        {
            taken.Required = metadata.OfType<IAcceptsMetadata>().LastOrDefault() is not { IsOptional: true };
        }
    }

    static OpenApiParameter Parameter(string name, ParameterLocation place, OpenApiSchema schema, string? description = null, bool required = false) =>
        new() { Name = name, In = place, Schema = schema, Description = description, Required = required };
}
