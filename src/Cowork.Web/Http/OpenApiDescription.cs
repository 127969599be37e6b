using System.Text.Json.Nodes;

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

/// <summary>Endpoint metadata: the header <c>Prefer</c> can say how long to wait.</summary>
public sealed record WaitsAsPreferred;

/// <summary>Endpoint metadata: the media types of text that content negotiation can choose.</summary>
public sealed record AnswersAsText(IReadOnlyList<string> MediaTypes);

/// <summary>Endpoint metadata and transformers for /openapi.json.</summary>
public static class OpenApiDescription
{
    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, params WholeNumberQuery[] parameters) => endpoint.WithMetadata([.. parameters]);

    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, ChoiceQuery parameter) => endpoint.WithMetadata(parameter);

    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, TextQuery parameter) => endpoint.WithMetadata(parameter);

    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, TimeQuery parameter) => endpoint.WithMetadata(parameter);

    public static RouteHandlerBuilder Takes(this RouteHandlerBuilder endpoint, IdQuery parameter) => endpoint.WithMetadata(parameter);

    public static RouteHandlerBuilder TakesLastEventId(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(new ResumesByHeader());

    public static RouteHandlerBuilder TakesPrefer(this RouteHandlerBuilder endpoint) => endpoint.WithMetadata(new WaitsAsPreferred());

    public static RouteHandlerBuilder AlsoAsText(this RouteHandlerBuilder endpoint, params string[] mediaTypes) =>
        endpoint.WithMetadata(new AnswersAsText(mediaTypes));

    public static RouteHandlerBuilder Refuses(this RouteHandlerBuilder endpoint, params int[] statuses) => endpoint.WithMetadata(new RefusesWith(statuses));

    public static void Describe(this OpenApiOptions options)
    {
        options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
        // Answers show a content as a string, wherever it is stored, and a key as its id.
        options.CreateSchemaReferenceId = type =>
            type.Type == typeof(Content) || typeof(IStreamKey).IsAssignableFrom(Nullable.GetUnderlyingType(type.Type) ?? type.Type) ? null
            : OpenApiOptions.CreateDefaultSchemaReferenceId(type);
        options.AddSchemaTransformer((schema, context, _) =>
        {
            if ((Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) ?? context.JsonTypeInfo.Type) == typeof(DateTimeOffset))
            {
                schema.Type = context.JsonTypeInfo.Type == typeof(DateTimeOffset) ? JsonSchemaType.String : JsonSchemaType.String | JsonSchemaType.Null;
                schema.Format = "date-time";
            }
            if (typeof(IStreamKey).IsAssignableFrom(Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) ?? context.JsonTypeInfo.Type))
            {
                // Ids are strings, whatever they name.
                schema.Type = Nullable.GetUnderlyingType(context.JsonTypeInfo.Type) is null ? JsonSchemaType.String : JsonSchemaType.String | JsonSchemaType.Null;
            }
            if (context.JsonTypeInfo.Type == typeof(Content))
            {
                schema.Description = null;
                schema.Type = context.JsonPropertyInfo is { IsGetNullable: false } ? JsonSchemaType.String : JsonSchemaType.String | JsonSchemaType.Null;
            }
            return Task.CompletedTask;
        });
        options.AddOperationTransformer(Operation);
        options.AddDocumentTransformer((document, _, _) =>
        {
            document.Info = new()
            {
                Title = "Cowork",
                Version = "1",
                Description = "Sessions, turns, runs and their events. Every refusal is application/problem+json with a stable code.",
            };
            document.Servers = [];
            document.Components ??= new();
            document.Components.SecuritySchemes ??= new Dictionary<string, IOpenApiSecurityScheme>();
            document.Components.SecuritySchemes["token"] = new OpenApiSecurityScheme
            {
                Type = SecuritySchemeType.Http,
                Scheme = "bearer",
                Description = "An API token, cowork_…; not needed in local mode.",
            };
            return Task.CompletedTask;
        });
    }

    static async Task Operation(OpenApiOperation operation, OpenApiOperationTransformerContext context, CancellationToken ct)
    {
        var metadata = context.Description.ActionDescriptor.EndpointMetadata;
        operation.Parameters ??= [];
        foreach (var part in (context.Description.RelativePath ?? "").Split('/').Where(p => p.StartsWith('{')))
        {
            var name = part.Trim('{', '}');
            if (operation.Parameters.All(p => p.Name != name))
            {
                operation.Parameters.Add(Parameter(name, ParameterLocation.Path, new() { Type = JsonSchemaType.String, MaxLength = Limits.IdCharsMax }, required: true));
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
                Default = JsonValue.Create(query.Default),
            };
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, schema, query.Description));
        }
        foreach (var query in metadata.OfType<ChoiceQuery>())
        {
            var schema = new OpenApiSchema
            {
                Type = JsonSchemaType.String,
                Enum = [.. query.Choices.Select(choice => (JsonNode)JsonValue.Create(choice))],
                Default = JsonValue.Create(query.Default),
            };
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, schema, query.Description));
        }
        foreach (var query in metadata.OfType<IdQuery>())
        {
            var schema = new OpenApiSchema { Type = JsonSchemaType.String, MaxLength = Limits.IdCharsMax };
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, schema, query.Description));
        }
        foreach (var query in metadata.OfType<TextQuery>())
        {
            var schema = new OpenApiSchema { Type = JsonSchemaType.String, MinLength = 1, Default = query.Default is { } usual ? JsonValue.Create(usual) : null };
            operation.Parameters.Add(Parameter(query.Name, ParameterLocation.Query, schema, query.Description, required: query.Default is null));
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
        if (metadata.OfType<WaitsAsPreferred>().Any())
        {
            const string Preferences = "wait=SECONDS or respond-async (RFC 7240): how long to wait, where the request itself does not say.";
            operation.Parameters.Add(Parameter("Prefer", ParameterLocation.Header, new() { Type = JsonSchemaType.String }, Preferences));
        }
        if (context.Description.HttpMethod == "POST")
        {
            var schema = new OpenApiSchema { Type = JsonSchemaType.String, MinLength = 1, MaxLength = Limits.IdempotencyKeyCharsMax };
            operation.Parameters.Add(Parameter("Idempotency-Key", ParameterLocation.Header, schema, "Sending the request again with the same key does nothing again."));
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
        var open = metadata.OfType<IAllowAnonymous>().Any();
        int[] any = open ? [] : metadata.OfType<RequiredRole>().Any() ? [401, 403, 503] : [401, 503];
        var errors = metadata.OfType<Dialect>().Last().Errors;
        context.Document!.AddComponent(errors.SchemaName, await context.GetOrCreateSchemaAsync(errors.Shape, cancellationToken: ct));
        operation.Responses ??= [];
        // Error responses that a library declares are replaced by the endpoint's own, in the form of its contract.
        foreach (var status in operation.Responses.Keys.Where(status => status[0] is '4' or '5').ToList())
        {
            operation.Responses.Remove(status);
        }
        foreach (var status in metadata.OfType<RefusesWith>().SelectMany(r => r.Statuses).Concat(any).Distinct().Order())
        {
            operation.Responses[status.ToString(System.Globalization.CultureInfo.InvariantCulture)] = new OpenApiResponse
            {
                Description = Microsoft.AspNetCore.WebUtilities.ReasonPhrases.GetReasonPhrase(status),
                Content = new Dictionary<string, OpenApiMediaType> { [errors.ContentType] = new() { Schema = new OpenApiSchemaReference(errors.SchemaName, context.Document) } },
            };
        }
        foreach (var type in metadata.OfType<AnswersAsText>().SelectMany(a => a.MediaTypes))
        {
            operation.Responses["200"].Content![type] = new() { Schema = new OpenApiSchema { Type = JsonSchemaType.String } };
        }
        if (!open)
        {
            operation.Security = [new() { [new OpenApiSecuritySchemeReference("token", context.Document)] = [] }, new()];
        }
    }

    static OpenApiParameter Parameter(string name, ParameterLocation place, OpenApiSchema schema, string? description = null, bool required = false) =>
        new() { Name = name, In = place, Schema = schema, Description = description, Required = required };
}
