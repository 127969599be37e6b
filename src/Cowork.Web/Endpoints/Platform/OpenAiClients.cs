using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>
/// What the clients of OpenAI read where the contract has another form (docs/platform.md). Those of every language say in each request that it is theirs, and any other
/// request is answered as the contract has it.
/// </summary>
static class OpenAiClients
{
    const string Header = "X-Stainless-Lang";

    /// <summary>Problems, with one member more for these clients: the only one that they read.</summary>
    public static ErrorForm Errors { get; } = ProblemDetails.Form with
    {
        Write = (response, error) => Sent(response.HttpContext.Request)
            ? response.WriteJson(OpenAiProblem.From(error, TraceId.Of(response.HttpContext)), PlatformJson.Answers.OpenAiProblem, ProblemDetails.ContentType)
            : ProblemDetails.Form.Write(response, error),
    };

    /// <summary>True: one of these clients sent the request.</summary>
    public static bool Sent(HttpRequest request) => request.Headers.ContainsKey(Header);

    /// <summary>
    /// The response with messages alone: these clients want an id of every item. While nothing was said there is no message either, because an item is announced once, by
    /// an event of its own.
    /// </summary>
    public static ResponseDetails Adapt(ResponseDetails response) =>
        response with { Output = [.. response.Output.Skip(ResponseFold.FirstMessage).Where(item => item is not { Status: "in_progress", Content: [{ Text: "" }] })] };

    /// <summary>
    /// The event with its place among the messages. Null: these clients have no word for it, and what gathers a stream there (<c>responses.stream()</c>) fails on the first
    /// event whose type it does not know.
    /// </summary>
    public static ResponseEvent? Adapt(ResponseEvent e) => e.Type is ResponseFold.ToolCalled or ResponseFold.ToolAnswered or ResponseFold.ApprovalRequired
        ? null
        : e with
        {
            Type = e.Type == ResponseFold.Cancelled ? "response.incomplete" : e.Type,
            Response = e.Response is { } response ? Adapt(response) : null,
            OutputIndex = e.OutputIndex - ResponseFold.FirstMessage,
        };
}

/// <summary>A problem that the clients of OpenAI read too.</summary>
public sealed record OpenAiProblem : ProblemDetails
{
    OpenAiProblem(ProblemDetails problem, OpenAiError error)
        : base(problem) => Error = error;

    public OpenAiError Error { get; }

    public static OpenAiProblem From(ErrorResult error, string traceId) => new(
        Of(error, traceId),
        new(
            error.Detail, error.Status < 500 ? "invalid_request_error" : "server_error", error.Code,
            error.Errors?.Keys.FirstOrDefault()?.Replace("$.", "", StringComparison.Ordinal)));
}

/// <param name="Param">What is wrong in the request: a member of the body, a query parameter or a header.</param>
public sealed record OpenAiError(string Message, string Type, string Code, string? Param);

/// <summary>A time in whole seconds since 1970, as OpenAI has it.</summary>
sealed class UnixSecondsConverter : JsonConverter<DateTimeOffset>
{
    public override DateTimeOffset Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => DateTimeOffset.FromUnixTimeSeconds(reader.GetInt64());

    public override void Write(Utf8JsonWriter writer, DateTimeOffset value, JsonSerializerOptions options) => writer.WriteNumberValue(value.ToUnixTimeSeconds());
}
