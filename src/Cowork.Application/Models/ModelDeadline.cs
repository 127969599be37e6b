namespace Cowork.Application.Models;

/// <summary>The time-outs of one request to a model: the token is cancelled at the first, which <see cref="DescribeTimeout"/> then names.</summary>
sealed class ModelDeadline : IDisposable
{
    readonly ModelTimeouts timeouts;
    readonly CancellationToken caller;
    readonly CancellationTokenSource idle;
    readonly CancellationTokenSource total;
    readonly CancellationTokenSource linked;
    bool answering;

    public ModelDeadline(ModelTimeouts timeouts, TimeProvider clock, CancellationToken caller)
    {
        this.timeouts = timeouts;
        this.caller = caller;
        idle = new(timeouts.FirstByte, clock);
        total = new(timeouts.Total, clock);
        linked = CancellationTokenSource.CreateLinkedTokenSource(caller, idle.Token, total.Token);
    }

    public CancellationToken Token => linked.Token;

    /// <summary>A part of the answer arrived: the idle time-out starts again.</summary>
    public void Renew()
    {
        answering = true;
        idle.CancelAfter(timeouts.Idle);
    }

    /// <summary>The exception that names the time-out which cancelled the token; null: the caller cancelled.</summary>
    public ModelException? DescribeTimeout(Exception e) =>
        caller.IsCancellationRequested ? null
        : total.IsCancellationRequested ? new(ModelException.Failed, $"The model's answer took longer than {timeouts.Total}.", e)
        : !idle.IsCancellationRequested ? new(ModelException.Failed, "The model's answer was cancelled by the connection.", e)
        : answering ? new(ModelException.Failed, $"The model's answer stood still for {timeouts.Idle}.", e)
        : new(ModelException.Unavailable, $"The model did not start to answer within {timeouts.FirstByte}.", e);

    public void Dispose()
    {
        linked.Dispose();
        idle.Dispose();
        total.Dispose();
    }
}
