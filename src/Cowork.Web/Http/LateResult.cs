using System.Text.Json;

namespace Cowork.Web.Http;

/// <summary>A JSON answer that can be sent after its head.</summary>
public interface ILateAnswer : IResult
{
    JsonWriterOptions Writing { get; }

    void Write(Utf8JsonWriter json);
}

/// <summary>
/// An answer that comes late. When it has not come after a while, its head is sent as 200 with white space, which JSON allows before a value (RFC 8259, section 2), and
/// more white space follows at intervals: a proxy that closes idle connections sees that this one is not idle. An answer that comes sooner has its own status.
/// </summary>
/// <param name="Coming">It fails with <see cref="OperationCanceledException"/> when the client has gone.</param>
public sealed record LateResult(Task<IResult> Coming) : IResult
{
    public string? Location { get; init; }

    /// <inheritdoc cref="JsonResult{T}.Replayed"/>
    public bool Replayed { get; init; }

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        var clock = httpContext.RequestServices.GetRequiredService<TimeProvider>();
        var silence = httpContext.RequestServices.GetRequiredService<HostSettings>().KeepAlive;
        var response = httpContext.Response;
        IResult answer;
        httpContext.Features.Get<RequestShare>()?.Wait();
        while (true)
        {
            try
            {
                answer = await Coming.WaitAsync(silence, clock);
                break;
            }
            catch (TimeoutException) when (!Coming.IsCompleted)
            {
                if (!response.HasStarted)
                {
                    response.Begin(200, Location, Replayed);
                    response.BeginJson("application/json");
                    response.Headers["X-Accel-Buffering"] = "no";
                }
                response.BodyWriter.GetSpan(1)[0] = (byte)' ';
                response.BodyWriter.Advance(1);
                await response.BodyWriter.FlushAsync(CancellationToken.None);
            }
        }
        if (!response.HasStarted)
        {
            await answer.ExecuteAsync(httpContext);
            return;
        }
        // A refusal cannot be told any more. The connection is cut, so that nobody takes what came for an answer.
        var late = answer as ILateAnswer ?? throw new InvalidOperationException($"A {answer.GetType().Name} came after its head was sent.");
        await using var json = new Utf8JsonWriter(response.BodyWriter, late.Writing);
        late.Write(json);
    }
}
