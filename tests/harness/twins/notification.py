"""The notification service as people run it in Python: a line of text by smtplib, a nack on any complaint."""

import json
import os
import smtplib
from email.message import EmailMessage

import pika


def send(body):
    """Mails the owner of an MP3."""
    message = json.loads(body)
    sender = os.environ["GMAIL_ADDRESS"]
    mail = EmailMessage()
    mail.set_content(f"mp3 file_id: {message['mp3_fid']} is now ready!")
    mail["Subject"] = "MP3 Download"
    mail["From"] = sender
    mail["To"] = message["username"]
    session = smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"]), timeout=30)
    session.starttls()
    session.login(sender, os.environ["GMAIL_PASSWORD"])
    session.send_message(mail, sender, message["username"])
    session.quit()


def on_message(channel, method, properties, body):
    try:
        send(body)
    except Exception as e:
        print(e, flush=True)
        channel.basic_nack(delivery_tag=method.delivery_tag)
    else:
        channel.basic_ack(delivery_tag=method.delivery_tag)


if __name__ == "__main__":
    channel = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])).channel()
    channel.basic_consume(queue=os.environ["MP3_QUEUE"], on_message_callback=on_message)
    print("waiting for messages", flush=True)
    channel.start_consuming()
