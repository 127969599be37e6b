using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Cowork.Web.Http;

/// <summary>The form in which a contract answers errors.</summary>
/// <param name="SchemaName">Name of the shape in /openapi.json.</param>
/// <param name="Write">Sends the body.</param>
public sealed record ErrorForm(string SchemaName, string ContentType, Type Shape, Func<HttpResponse, ErrorResult, Task> Write)
{
    /// <param name="shape">Makes the body of an error and the request's trace id.</param>
    public static ErrorForm Of<T>(string schemaName, string contentType, JsonTypeInfo<T> json, Func<ErrorResult, string, T> shape) =>
        new(schemaName, contentType, typeof(T), (response, error) => response.WriteJson(shape(error, TraceId.Of(response.HttpContext)), json, contentType));
}

/// <summary>An error, in the form of RFC 9457.</summary>
/// <remarks>The form of every contract but E (contracts/decisions.md, "Errors").</remarks>
/// <param name="Code">Stable, snake_case (docs/errors.md).</param>
/// <param name="RunId">The run that causes the error; null: no run does.</param>
/// <param name="Errors">The errors of a 422, by JSON path, query parameter or header.</param>
public record ProblemDetails(
    string Type, string Title, int Status, string Detail, string Code, string TraceId,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? RunId = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyDictionary<string, IReadOnlyList<string>>? Errors = null)
{
    public const string ContentType = "application/problem+json";

    public static ErrorForm Form { get; } = ErrorForm.Of("Problem", ContentType, HttpJson.Answers.ProblemDetails, Of);

    public static ProblemDetails Of(ErrorResult error, string traceId) =>
        new($"urn:cowork:problem:{error.Code}", TitleOf(error.Status), error.Status, error.Detail, error.Code, traceId, error.RunId, error.Errors);

    static string TitleOf(int status) =>
        Microsoft.AspNetCore.WebUtilities.ReasonPhrases.GetReasonPhrase(status) is { Length: > 0 } phrase ? phrase : "Refused";
}
