namespace Cowork.Application.Models;

/// <summary>
/// The three time-outs of one request to a model: to its first content, between contents, and for the whole. The token is cancelled at the first of them, which
/// <see cref="DescribeTimeout"/> then names. Headers, heartbeats and empty pieces are no content.
/// </summary>
sealed class ModelDeadline : IDisposable
{
    readonly ModelTimeouts timeouts;
    readonly CancellationToken caller;
    readonly CancellationTokenSource idle;
    readonly CancellationTokenSource total;
    readonly CancellationTokenSource linked;
    bool answering;
    CancellationTokenSource? first;

    public ModelDeadline(ModelTimeouts timeouts, TimeProvider clock, CancellationToken caller)
    {
        this.timeouts = timeouts;
        this.caller = caller;
        idle = new(timeouts.FirstContent, clock);
        total = new(timeouts.Total, clock);
        // The later one may pass, too, before anybody asks.
        idle.Token.UnsafeRegister(_ => Interlocked.CompareExchange(ref first, idle, null), null);
        total.Token.UnsafeRegister(_ => Interlocked.CompareExchange(ref first, total, null), null);
        linked = CancellationTokenSource.CreateLinkedTokenSource(caller, idle.Token, total.Token);
    }

    public CancellationToken Token => linked.Token;

    /// <summary>A part of the answer arrived: the time-out between contents starts again.</summary>
    public void Renew()
    {
        answering = true;
        idle.CancelAfter(timeouts.Idle);
    }

    /// <summary>The exception that names the time-out which cancelled the token; null: the caller cancelled.</summary>
    public ModelException? DescribeTimeout(Exception e) =>
        caller.IsCancellationRequested ? null
        : first == total ? new(ModelException.Failed, $"The model's answer took longer than {timeouts.Total}.", e)
        : first is null ? new(ModelException.Failed, "The model's answer was cancelled by the connection.", e)
        : answering ? new(ModelException.Failed, $"The model's answer stood still for {timeouts.Idle}.", e)
        : new(ModelException.Unavailable, $"The model did not start to answer within {timeouts.FirstContent}.", e);

    public void Dispose()
    {
        linked.Dispose();
        idle.Dispose();
        total.Dispose();
    }
}
