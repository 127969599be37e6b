using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>An error with a stable code (docs/errors.md), answered in the form of the contract that the request's address belongs to.</summary>
/// <param name="Errors">The errors of a 422, by JSON path, query parameter or header.</param>
public sealed record ErrorResult(int Status, string Code, string Detail, IReadOnlyDictionary<string, IReadOnlyList<string>>? Errors = null) : IResult
{
    const string CodeKey = "cowork.code";

    /// <summary>Value of the header <c>Retry-After</c>, in whole seconds.</summary>
    public int? RetryAfter { get; init; }

    /// <summary>Id of the run that causes the error; null: no run does.</summary>
    public string? RunId { get; init; }

    /// <summary>What is not there, or not any more, as <see cref="Dialect.Nouns"/> know it; null: the error is another one.</summary>
    public string? Missing { get; init; }

    /// <summary>Value of the header <c>WWW-Authenticate</c>.</summary>
    public string? Challenge { get; init; }

    public static ErrorResult Invalid(string path, string detail, string code = "invalid_request") =>
        new(422, code, detail, new Dictionary<string, IReadOnlyList<string>> { [path] = [detail] });

    public static ErrorResult NotFound(string what) => Of(Refusal.NotFound(what)) with { Missing = what };

    public static ErrorResult Of(Refusal refused) => refused switch
    {
        { Status: 422, Path: { } path } => Invalid(path, refused.Detail, refused.Code) with { RunId = RunIn(refused) },
        { Status: 429 } => new(429, refused.Code, refused.Detail) { RetryAfter = 1 },
        { Status: 410, Missing: { } what } => new(410, refused.Code, refused.Detail) { Missing = what },
        { Status: 401 } => new(401, refused.Code, refused.Detail) { Challenge = "Bearer realm=\"cowork\", error=\"invalid_token\"" },
        _ => new(refused.Status, refused.Code, refused.Detail) { RunId = RunIn(refused) },
    };

    /// <summary>The error for a bare status code, which the framework sets without a body.</summary>
    public static ErrorResult OfStatus(int status) => status switch
    {
        400 => new(400, "bad_request", "The request is not proper HTTP."),
        404 => new(404, "not_found", "There is nothing at this address."),
        405 => new(405, "method_not_allowed", "This address does not take that method; see the header Allow."),
        408 => new(408, "request_timeout", "The request came too slowly."),
        412 => new(412, "precondition_failed", "What is there is not what the request expects."),
        413 => new(413, "payload_too_large", $"The body may have at most {JsonValidator.BodyBytesMax} bytes."),
        414 => new(414, "address_too_long", "The request's address is too long."),
        415 => new(415, "unsupported_media_type", "The body must be JSON in UTF-8: Content-Type: application/json."),
        416 => new(416, "range_not_satisfiable", "There are no such bytes."),
        431 => new(431, "headers_too_large", "The request's headers are too large."),
        505 => new(505, "http_version_unsupported", "This host speaks HTTP/1.1 and HTTP/1.0, and HTTP/2 over TLS."),
        503 => Unavailable("Not ready yet."),
        >= 500 => new(status, "internal_error", "Something went wrong here. The log has more under the trace id."),
        _ => new(status, "refused", "The request was refused."),
    };

    public static ErrorResult Unavailable(string detail) => new(503, "storage_unavailable", detail) { RetryAfter = 1 };

    /// <summary>The database, or the server of the blobs, answers, and denies this host what it must do.</summary>
    public static ErrorResult Denied(bool byBlobs = false) => new(503, "storage_denied", byBlobs
        ? "The blob store denies this host what it must do. Its bucket or credentials are not as they should be; the host's log has more."
        : "The database denies this host what it must do. Somebody has taken a right from its role; the host's log has more.")
    {
        RetryAfter = 5,
    };

    /// <summary>The code of the error that the request was answered with; null: it was not.</summary>
    public static string? AnsweredTo(HttpContext http) => (string?)http.Items[CodeKey];

    public async Task ExecuteAsync(HttpContext httpContext) => await (await ExpiredAddress.Of(this, httpContext)).Write(httpContext);

    Task Write(HttpContext httpContext)
    {
        httpContext.Items[CodeKey] = Code;
        var response = httpContext.Response;
        response.StatusCode = Status;
        if (RetryAfter is { } seconds)
        {
            response.Headers.RetryAfter = seconds.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }
        if (Challenge is not null)
        {
            response.Headers.WWWAuthenticate = Challenge;
        }
        var dialect = httpContext.RequestServices.GetRequiredService<Dialects>().Of(httpContext);
        return dialect.Errors.Write(response, Status == 404 && Missing is not null && dialect.Nouns.TryGetValue(Missing, out var noun) ? NotFound(noun) : this);
    }

    static string? RunIn(Refusal refused) => refused.Existing?.StartsWith("run_", StringComparison.Ordinal) == true ? refused.Existing : null;
}
