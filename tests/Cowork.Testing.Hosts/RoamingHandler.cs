using System.Collections.Concurrent;
using System.Net;

namespace Cowork.Testing.Hosts;

/// <summary>
/// Sends each request to any of several hosts, and again, to another one and under the same key, when that one was killed or says that it cannot answer now. It notes
/// which requests were answered with a success.
/// </summary>
/// <param name="hosts">Addresses of the hosts, of which at least one is there.</param>
public sealed class RoamingHandler(Func<IReadOnlyList<string>> hosts) : DelegatingHandler(AnyCertificate.Handler(256))
{
    int requests;

    /// <summary>Methods and paths.</summary>
    public ConcurrentDictionary<(string Method, string Path), bool> Succeeded { get; init; } = [];

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var number = Interlocked.Increment(ref requests);
        if (request.Method != HttpMethod.Get && !request.Headers.Contains("Idempotency-Key"))
        {
            request.Headers.Add("Idempotency-Key", $"traffic-{number}");
        }
        var body = request.Content is null ? null : await request.Content.ReadAsByteArrayAsync(cancellationToken);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        deadline.CancelAfter(Patience.Limit);
        for (var attempt = 0; ; attempt++)
        {
            var all = hosts();
            using var sent = new HttpRequestMessage(request.Method, new Uri(new(all[(number + attempt) % all.Count]), request.RequestUri!.PathAndQuery));
            foreach (var (name, values) in request.Headers)
            {
                sent.Headers.TryAddWithoutValidation(name, values);
            }
            if (body is not null)
            {
                sent.Content = new ByteArrayContent(body);
                sent.Content.Headers.ContentType = request.Content!.Headers.ContentType;
            }
            try
            {
                var response = await base.SendAsync(sent, deadline.Token);
                await response.Content.LoadIntoBufferAsync(deadline.Token);
                if (response.StatusCode == HttpStatusCode.ServiceUnavailable || await IsInFlight(response))
                {
                    response.Dispose();
                }
                else
                {
                    // The first attempt has deleted it, and its answer was lost.
                    if (attempt > 0 && request.Method == HttpMethod.Delete && response.StatusCode == HttpStatusCode.NotFound)
                    {
                        response.StatusCode = HttpStatusCode.NoContent;
                    }
                    if (response.IsSuccessStatusCode)
                    {
                        Succeeded[(request.Method.Method, request.RequestUri.AbsolutePath)] = true;
                    }
                    return response;
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException && !deadline.IsCancellationRequested)
            {
                // Killed, or not there yet.
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                throw new TimeoutException($"No host has answered {request.Method} {request.RequestUri!.PathAndQuery} within {Patience.Seconds} s.");
            }
            await Task.Delay(20, CancellationToken.None);
        }
    }

    /// <summary>The request that was cut goes on at the host that is not killed, or the key is free again when its host is known to be dead.</summary>
    static async Task<bool> IsInFlight(HttpResponseMessage response) =>
        response.StatusCode == HttpStatusCode.Conflict && (await response.Content.ReadAsStringAsync()).Contains("\"idempotency_in_flight\"", StringComparison.Ordinal);
}
